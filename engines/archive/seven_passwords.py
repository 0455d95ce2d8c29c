"""Encrypted 7z archives, by the passwords that the operator configured.

libarchive does not decrypt them. So the encryption is taken off: what remains is the same archive with the same
packing, for libarchive to open.

Spec: 7zFormat.txt and Methods.txt of the LZMA SDK: method 06F10701, AES-256 in CBC mode under a key of 2^n SHA-256
rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from engines.archive import seven_header
from engines.archive.collect import Unpacked, collect
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.seven_header import Coder, Folder, Streams
from engines.archive.streams import Broken, Pushed, Range, Unsupported, zip_lzma
from engines.inflate import crc32
from icapd.scan.model import Budget, Buffer

_Each = TypeVar("_Each")
_AES: Final = b"\x06\xf1\x07\x01"
_LZMA: Final = b"\x03\x01\x01"
_COPY: Final = b"\x00"
_LZMA_OF_ZIP: Final = b"\0\0\5\0"
"""What stands before the same properties in a ZIP."""
_START: Final = 32
_BLOCK: Final = 16
_HEADER_BYTES_MAX: Final = 8 * 1024 * 1024
_HEADERS_MAX: Final = 4
_ROUNDS_POWER_MAX: Final = 22
"""Half a second; 7-Zip writes 19."""
_KEYS_MAX: Final = 4
"""Of one password. Folders may each have a salt of their own; 7-Zip writes none."""
_NO_ROUNDS: Final = 0x3F
_BATCH: Final = 1 << 16
_COPIES: Final = 4
"""Of the archive in memory at one time, its own included."""


@dataclass(frozen=True)
class Decrypted:
    """An archive without its encryption. `checksums` are by the members that are not empty, in their order: the size,
    and of what was encrypted the CRC-32 that only the right password gives, of the rest nothing.
    """

    data: bytes
    checksums: tuple[tuple[int, bytes | None], ...]

    def is_proven(self, number: int, size_bytes: int, unpacked: Unpacked) -> bool:
        """Whether a member, by its number among these, was not encrypted, or is what its writer encrypted.

        What ended at a limit, or is packed in a way that nobody here undoes, is taken for it: its finding says so.
        """
        if number >= len(self.checksums) or self.checksums[number][0] != size_bytes:
            return False
        crc = self.checksums[number][1]
        is_told = bool(unpacked.limit) or isinstance(unpacked.broken, Unsupported)
        return crc == b"" or is_told or (unpacked.broken is None and crc == _crc(unpacked.data))


def decrypted(data: Buffer, limits: ArchiveOptions, budget: Budget) -> Decrypted | None:
    """The archive without its encryption, by the first password that fits; None where none does or none is needed.

    Raises: DeadlineReached.
    """
    if not limits.passwords or _COPIES * len(data) > budget.held_bytes_left:
        return None
    for password in limits.passwords:
        opening = _Opening(data, password, budget)
        try:
            if not opening.is_encrypted():
                return None
            plain = Decrypted(opening.strip(), tuple(opening.checksums()))
            if opening.is_proven or _fits(plain, limits, budget):
                return plain
        except Broken:
            continue  # with another password its header may be one
    return None


def is_encrypted(data: Buffer, budget: Budget) -> bool:
    """Whether the archive seems to be, as far as that can be read without a password."""
    opening = _Opening(data, "", budget)
    try:
        return _AES in opening.header() or opening.was_needed
    except Broken:
        return opening.was_needed


def _fits(plain: Decrypted, limits: ArchiveOptions, budget: Budget) -> bool:
    """Whether the first encrypted member with a checksum meets it, or is packed in a way that nobody here undoes.

    What that takes of the budget is given back.
    """
    bytes_left = budget.bytes_left
    try:
        with Reader(plain.data, ("7zip",)) as reader:
            filled = (entry for entry in reader.entries() if entry.size_bytes)
            for number, (entry, (_, crc)) in enumerate(zip(filled, plain.checksums, strict=False)):
                budget.check_time()
                if crc:
                    return plain.is_proven(number, entry.size_bytes, collect(entry, len(plain.data), limits, budget))
    except Unsupported:
        return True
    finally:
        budget.bytes_left = bytes_left
    return False


class _Opening:
    """Takes the encryption off under one password.

    State: `was_needed` once the header was encrypted; `is_proven` once its checksum said that the password is right.
    """

    def __init__(self, data: Buffer, password: str, budget: Budget) -> None:
        self.was_needed = False
        self.is_proven = False
        self._data = data
        self._password = password.encode("utf-16-le")
        self._budget = budget
        self._keys: dict[tuple[int, bytes], bytes] = {}

    def is_encrypted(self) -> bool:
        """Reads the header. Raises: Broken where it is none, as under another password."""
        self._before, self._streams = seven_header.split_header(self.header())
        return self.was_needed or any(map(_uses_aes, self._streams.folders))

    def checksums(self) -> Iterator[tuple[int, bytes | None]]:
        """Once the header is read. Raises: Broken."""
        hidden = [_uses_aes(folder) for folder in self._streams.folders]
        for member in seven_header.members(self._streams):
            if member.size_bytes:
                yield member.size_bytes, (member.crc if hidden[member.folder] else b"")

    def strip(self) -> bytes:
        """The archive in plain, once its header is read. Raises: Broken, Unsupported."""
        streams = self._streams
        packed = [bytes(piece) for piece in self._pieces(streams)]
        folders: list[Folder] = []
        sizes: list[int] = []
        at = 0
        for folder in streams.folders:
            here = slice(at, at + len(folder.packed))
            plain, packed[here] = self._strip(folder, packed[here])
            folders.append(plain)
            sizes += map(len, packed[here])
            at += len(folder.packed)
        streams = replace(streams, pack_at=0, pack_sizes=tuple(sizes), folders=tuple(folders))
        header = self._before + seven_header.write_streams(streams)
        start = sum(sizes).to_bytes(8, "little") + len(header).to_bytes(8, "little") + _crc(header)
        return b"".join([bytes(self._data[:8]), _crc(start), start, *packed, header])

    def header(self) -> bytes:
        """The header in plain; it may be packed, and so may be what comes out. Raises: Broken."""
        start = bytes(self._data[:_START])
        at, size = (int.from_bytes(start[begin : begin + 8], "little") for begin in (12, 20))
        if size > _HEADER_BYTES_MAX or _START + at + size > len(self._data):
            raise Broken("the 7z header is elsewhere")
        header = bytes(self._data[_START + at : _START + at + size])
        for _ in range(_HEADERS_MAX):
            if header[:1] != bytes([seven_header.ENCODED_HEADER]):
                break
            header = self._decode(seven_header.read_streams(header[1:]))
        return header

    def _decode(self, streams: Streams) -> bytes:
        """What a packed header holds. Raises: Broken, Unsupported."""
        if len(streams.folders) != 1 or len(streams.pack_sizes) != 1:
            raise Unsupported("a header of several streams")
        is_encrypted = _uses_aes(streams.folders[0])
        self.was_needed = self.was_needed or is_encrypted
        folder, (packed,) = self._strip(streams.folders[0], [bytes(piece) for piece in self._pieces(streams)])
        if len(folder.coders) != 1 or folder.sizes[0] > _HEADER_BYTES_MAX:
            raise Unsupported("a header packed otherwise")
        coder, size = folder.coders[0], folder.sizes[0]
        header = packed[:size] if coder.method == _COPY else self._unpack(coder, packed, size)
        if len(header) < size or (streams.digests[0] or _crc(header)) != _crc(header):
            raise Broken("the 7z header is damaged, or its password another")
        self.is_proven = self.is_proven or (is_encrypted and streams.digests[0] is not None)
        return header

    def _unpack(self, coder: Coder, packed: bytes, size: int) -> bytes:
        if coder.method != _LZMA:
            raise Unsupported("a header packed otherwise")
        source = Range(packed, 0, len(packed), self._budget)
        stream = zip_lzma(Pushed(_LZMA_OF_ZIP + coder.properties, source))
        parts, missing = [], size
        while missing and (part := stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _pieces(self, streams: Streams) -> Iterator[Buffer]:
        at = _START + streams.pack_at
        for size in streams.pack_sizes:
            if at + size > len(self._data):
                raise Broken("packed streams behind the end")
            yield self._data[at : at + size]
            at += size

    def _strip(self, folder: Folder, packed: list[bytes]) -> tuple[Folder, list[bytes]]:
        """A folder without its encryption, and its packed streams in plain."""
        while (number := next((n for n, each in enumerate(folder.coders) if each.method == _AES), None)) is not None:
            folder, packed = self._strip_one(folder, number, packed)
        return folder, packed

    def _strip_one(self, folder: Folder, number: int, packed: list[bytes]) -> tuple[Folder, list[bytes]]:
        coder = folder.coders[number]
        fed = sum(each.inputs for each in folder.coders[:number])
        made = sum(each.outputs for each in folder.coders[:number])
        if (coder.inputs, coder.outputs) != (1, 1) or fed not in folder.packed:
            raise Unsupported("encryption of what is not packed")
        place = folder.packed.index(fed)
        plain = self._decrypt(coder.properties, packed[place])[: folder.sizes[made]]
        packed = [*packed[:place], plain, *packed[place + 1 :]]
        taker = next((to for to, out in folder.bonds if out == made), None)
        if taker is None:  # it makes the folder's own bytes
            return replace(folder, coders=_put(folder.coders, number, Coder(_COPY))), packed
        return (
            Folder(
                folder.coders[:number] + folder.coders[number + 1 :],
                tuple((to - (to > fed), out - (out > made)) for to, out in folder.bonds if out != made),
                tuple(at - (at > fed) for at in _put(folder.packed, place, taker)),
                folder.sizes[:made] + folder.sizes[made + 1 :],
            ),
            packed,
        )

    def _decrypt(self, properties: bytes, packed: bytes) -> bytes:
        first, second = properties.ljust(2, b"\0")[:2]
        salt_end = 2 + (first >> 7 & 1) + (second >> 4)
        salt = properties[2:salt_end]
        vector = properties[salt_end : salt_end + (first >> 6 & 1) + (second & 0x0F)].ljust(_BLOCK, b"\0")
        key = self._key(first & 0x3F, salt)
        undo = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        return undo.update(packed[: len(packed) // _BLOCK * _BLOCK])

    def _key(self, power: int, salt: bytes) -> bytes:
        known = self._keys.get((power, salt))
        if known is None:
            known = self._keys[power, salt] = self._make_key(power, salt)
        return known

    def _make_key(self, power: int, salt: bytes) -> bytes:
        """SHA-256 over as many rounds of the salt, the password and the round's number."""
        seed = salt + self._password
        if power == _NO_ROUNDS:
            return seed[:32].ljust(32, b"\0")
        if power > _ROUNDS_POWER_MAX or len(self._keys) == _KEYS_MAX:
            raise Unsupported("more rounds than any writer has")
        digest = hashlib.sha256()
        rounds = 1 << power
        rows = numpy.empty((min(rounds, _BATCH), len(seed) + 8), numpy.uint8)
        rows[:, : len(seed)] = numpy.frombuffer(seed, numpy.uint8)
        for first in range(0, rounds, len(rows)):
            self._budget.check_time()
            numbers = numpy.arange(first, first + len(rows), dtype="<u8")
            rows[:, len(seed) :] = numbers.view(numpy.uint8).reshape(-1, 8)
            digest.update(rows.tobytes())
        return digest.digest()


def _uses_aes(folder: Folder) -> bool:
    return any(coder.method == _AES for coder in folder.coders)


def _put(values: tuple[_Each, ...], at: int, value: _Each) -> tuple[_Each, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _crc(data: bytes) -> bytes:
    return crc32(data).to_bytes(4, "little")
