"""Encrypted members of a ZIP, by the passwords that the operator configured.

The old encryption (APPNOTE 6.1) is undone by libarchive, as it goes byte by byte; AES, as WinZip writes it, here.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

import numpy
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from engines.archive import zip_directory, zip_methods
from engines.archive.collect import Unpacked, collect
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.streams import Broken, Range, Source
from engines.archive.zip_directory import Entry
from engines.inflate import crc32
from icapd.scan.model import Budget, Sample

_AES_FIELD: Final = 0x9901
_KEY_BYTES: Final = {1: 16, 2: 24, 3: 32}
_ROUNDS: Final = 1000
_VERIFIER_BYTES: Final = 2
_CODE_BYTES: Final = 10
_BLOCK_BYTES: Final = 16


def decrypted(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Unpacked | None:
    """The member's bytes by the first password that fits; nothing where none does."""
    for password in limits.passwords:
        budget.check_time()
        undo = _aes if entry.method == zip_methods.AES else _traditional
        unpacked = undo(sample, entry, password.encode(), limits, budget)
        if unpacked is not None:
            return unpacked
    return None


def _traditional(
    sample: Sample, entry: Entry, password: bytes, limits: ArchiveOptions, budget: Budget
) -> Unpacked | None:
    """Right when it unpacks to its checksum: the format's own check lets one wrong password in 256 pass."""
    alone = bytes(sample.data[entry.header : entry.end + zip_methods.DESCRIPTOR_BYTES])
    try:
        with Reader(alone, ("zip_streamable",), password=password) as reader:
            content = collect(next(reader.entries()), len(alone), limits, budget)
    except (Broken, StopIteration):
        return None
    is_right = bool(content.limit) or crc32(content.data) == entry.crc
    return content if is_right else None


def _aes(sample: Sample, entry: Entry, password: bytes, limits: ArchiveOptions, budget: Budget) -> Unpacked | None:
    """Right when its authentication code is: of the data as it lies there, so that nothing wrong is unpacked."""
    found = _aes_field(zip_directory.local_extra(sample.data, entry.header))
    if found is None:
        return None
    key_bytes, method = found
    salt_bytes = key_bytes // 2
    start = entry.start + salt_bytes + _VERIFIER_BYTES
    end = entry.end - _CODE_BYTES
    head = bytes(sample.data[entry.start : start])
    keys = hashlib.pbkdf2_hmac("sha1", password, head[:salt_bytes], _ROUNDS, 2 * key_bytes + _VERIFIER_BYTES)
    if end < start or head[salt_bytes:] != keys[-_VERIFIER_BYTES:]:
        return None
    code = hmac.new(keys[key_bytes : 2 * key_bytes], digestmod="sha1")
    source = Range(sample.data, start, end, budget)
    while block := source.read(1 << 20):
        code.update(block)
    if code.digest()[:_CODE_BYTES] != bytes(sample.data[end : entry.end]):
        return None
    plain = _Decrypted(Range(sample.data, start, end, budget), keys[:key_bytes])
    content = zip_methods.read(plain, method, end - start, limits, budget)
    return content[0] if content else None


def _aes_field(extra: bytes) -> tuple[int, int] | None:
    """The key's length and the method beneath, from the extra field that WinZip's AES has."""
    at = 0
    while at + 4 <= len(extra):
        kind, size_bytes = struct.unpack_from("<HH", extra, at)
        if kind == _AES_FIELD and size_bytes >= 7 and at + 11 <= len(extra):
            strength, method = struct.unpack_from("<BH", extra, at + 8)
            return (_KEY_BYTES[strength], method) if strength in _KEY_BYTES else None
        at += 4 + size_bytes
    return None


class _Decrypted:
    """AES in counter mode as WinZip has it: the counter begins at 1, its lowest byte first.

    State: the counter, and what is left of the last block's key stream.
    """

    def __init__(self, source: Source, key: bytes) -> None:
        self._source = source
        self._encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - of counters, for a stream
        self._counter = 1
        self._stream = b""

    def read(self, size_bytes: int) -> bytes:
        packed = self._source.read(size_bytes)
        missing = len(packed) - len(self._stream)
        if missing > 0:
            blocks = -(-missing // _BLOCK_BYTES)
            counters = numpy.zeros((blocks, 2), "<u8")
            counters[:, 0] = numpy.arange(self._counter, self._counter + blocks, dtype="<u8")
            self._counter += blocks
            self._stream += self._encrypt.update(counters.tobytes())
        stream, self._stream = self._stream[: len(packed)], self._stream[len(packed) :]
        plain = numpy.frombuffer(packed, numpy.uint8) ^ numpy.frombuffer(stream, numpy.uint8)
        return bytes(plain.tobytes())
