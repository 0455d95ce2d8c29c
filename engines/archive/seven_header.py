"""The header of a 7z archive, as far as it tells how members are packed: read, and written again.

Only what stands before the names is understood; the rest goes through as it is. No number is believed: a list is
never longer than the bytes it would have to stand in.

Spec: 7zFormat.txt of the LZMA SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from engines.archive.streams import Broken, Unsupported

HEADER: Final = 0x01
ENCODED_HEADER: Final = 0x17
_END, _PROPERTIES, _MORE_STREAMS, _MAIN_STREAMS = 0x00, 0x02, 0x03, 0x04
_PACK_INFO, _UNPACK_INFO, _SUBSTREAMS_INFO, _SIZES = 0x06, 0x07, 0x08, 0x09
_DIGESTS, _FOLDERS, _UNPACK_SIZES, _SUBSTREAMS = 0x0A, 0x0B, 0x0C, 0x0D
_COMPLEX, _HAS_PROPERTIES, _RESERVED = 0x10, 0x20, 0x80
_PARTS_MAX: Final = 32
"""Of coders in a folder, and of what goes into one and comes out of it, as 7-Zip has it."""
_STREAMS_MAX: Final = 65_536
"""Of folders, of packed streams, and of members. Of more nothing is decrypted."""


@dataclass(frozen=True)
class Coder:
    """One step of packing: its method, and how many streams go in and come out when it is undone."""

    method: bytes
    inputs: int = 1
    outputs: int = 1
    properties: bytes = b""


@dataclass(frozen=True)
class Folder:
    """Coders and how they hang together, by numbers of their inputs and outputs over all of them.

    `bonds` are pairs of an input and the output that feeds it; `packed` are the inputs that packed streams feed.
    """

    coders: tuple[Coder, ...]
    bonds: tuple[tuple[int, int], ...]
    packed: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    """Of what comes out of each output, unpacked."""

    @property
    def size_bytes(self) -> int:
        """Of the folder's own bytes: what comes out where nothing takes it in."""
        bound = {out for _, out in self.bonds}
        return next(size for out, size in enumerate(self.sizes) if out not in bound)


@dataclass(frozen=True)
class Streams:
    """Where packed streams lie, and what they are; `rest` is everything behind that, as it came."""

    pack_at: int
    pack_sizes: tuple[int, ...]
    folders: tuple[Folder, ...]
    digests: tuple[bytes | None, ...]
    """CRC-32 of what a folder unpacks to, where it stands here."""
    rest: bytes


class _Bytes:
    """Reads the header from its front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) < count:
            raise Broken("the 7z header is cut")
        self.at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """As many bytes follow the first as it has leading ones, the lowest first; its other bits are the highest."""
        first = self.byte()
        more = 8 - (first ^ 0xFF).bit_length()
        low = int.from_bytes(self.take(more), "little")
        return low | (first & (0x7F >> more)) << 8 * more

    def count(self, most: int = _STREAMS_MAX) -> int:
        """Of things that take a byte each, at least."""
        count = self.number()
        if count > min(most, len(self._data) - self.at):
            raise Broken("more in the 7z header than fits")
        return count

    def expect(self, kind: int) -> None:
        if self.byte() != kind:
            raise Broken("another order in the 7z header")

    def rest(self) -> bytes:
        return self._data[self.at :]


def split_header(header: bytes) -> tuple[bytes, Streams]:
    """The properties before the streams, as they came, and the streams. Raises: Broken, Unsupported."""
    read = _Bytes(header)
    read.expect(HEADER)
    kind = read.byte()
    if kind == _PROPERTIES:
        while read.byte() != _END:
            read.take(read.number())
        kind = read.byte()
    if kind == _MORE_STREAMS:
        raise Unsupported("additional streams")
    if kind != _MAIN_STREAMS:
        raise Broken("no streams in the 7z header")
    return header[: read.at], read_streams(read.rest())


def read_streams(data: bytes) -> Streams:
    """Raises: Broken, Unsupported."""
    read = _Bytes(data)
    read.expect(_PACK_INFO)
    pack_at, count = read.number(), read.count()
    sizes: tuple[int, ...] = ()
    while (kind := read.byte()) != _END:
        if kind == _SIZES:
            sizes = tuple(read.number() for _ in range(count))
        elif kind == _DIGESTS:
            _read_digests(read, count)
        else:
            raise Broken("another order in the 7z header")
    if len(sizes) != count:
        raise Broken("packed streams without sizes")
    read.expect(_UNPACK_INFO)
    read.expect(_FOLDERS)
    count = read.count()
    if read.byte():
        raise Unsupported("folders elsewhere")
    folders = [_read_folder(read) for _ in range(count)]
    read.expect(_UNPACK_SIZES)
    folders = [
        Folder(each.coders, each.bonds, each.packed, tuple(read.number() for _ in range(_outputs(each.coders))))
        for each in folders
    ]
    digests: tuple[bytes | None, ...] = (None,) * count
    kind = read.byte()
    if kind == _DIGESTS:
        digests = _read_digests(read, count)
        kind = read.byte()
    if kind != _END or sum(len(each.packed) for each in folders) != len(sizes):
        raise Broken("another order in the 7z header")
    return Streams(pack_at, sizes, tuple(folders), digests, read.rest())


def _read_digests(read: _Bytes, count: int) -> tuple[bytes | None, ...]:
    are_there = [True] * count
    if not read.byte():
        bits = read.take(-(-count // 8))
        are_there = [bool(bits[at // 8] & 0x80 >> at % 8) for at in range(count)]
    return tuple(read.take(4) if is_there else None for is_there in are_there)


def _outputs(coders: Sequence[Coder]) -> int:
    return sum(coder.outputs for coder in coders)


def _inputs(coders: Sequence[Coder]) -> int:
    return sum(coder.inputs for coder in coders)


def _read_folder(read: _Bytes) -> Folder:
    coders = [_read_coder(read) for _ in range(read.count(_PARTS_MAX))]
    inputs, outputs = _inputs(coders), _outputs(coders)
    if not coders or not outputs or inputs < outputs - 1:
        raise Broken("a folder without coders")
    bonds = [(read.count(inputs - 1), read.count(outputs - 1)) for _ in range(outputs - 1)]
    bound = {fed for fed, _ in bonds}
    free = [at for at in range(inputs) if at not in bound]
    count = inputs - len(bonds)
    packed = [read.count(inputs - 1) for _ in range(count)] if count > 1 else free
    if sorted(packed) != free or len(bound) != len(bonds):
        raise Broken("coders that do not hang together")
    return Folder(tuple(coders), tuple(bonds), tuple(packed))


def _read_coder(read: _Bytes) -> Coder:
    flags = read.byte()
    if flags & _RESERVED:
        raise Unsupported("alternative coders")
    method = read.take(flags & 0x0F)
    inputs, outputs = (read.count(_PARTS_MAX), read.count(_PARTS_MAX)) if flags & _COMPLEX else (1, 1)
    return Coder(method, inputs, outputs, read.take(read.number()) if flags & _HAS_PROPERTIES else b"")


class Member(NamedTuple):
    """One stream that a folder unpacks to. `crc` is its CRC-32, where the archive has one."""

    folder: int
    size_bytes: int
    crc: bytes | None


def members(streams: Streams) -> Iterator[Member]:
    """In the order of the files that are not empty. Raises: Broken."""
    read = _Bytes(streams.rest)
    counts, kind = [1] * len(streams.folders), _END
    if streams.rest[:1] == bytes([_SUBSTREAMS_INFO]):
        read.byte()
        kind = read.byte()
    if kind == _SUBSTREAMS:
        counts = [read.number() for _ in streams.folders]
        kind = read.byte()
    if sum(counts) > _STREAMS_MAX:
        raise Broken("more members than are decrypted")
    sizes = [
        _sizes_of(read, folder.size_bytes, count, has_sizes=kind == _SIZES)
        for folder, count in zip(streams.folders, counts, strict=True)
    ]
    if kind == _SIZES:
        kind = read.byte()
    whole = [digest if count == 1 else None for digest, count in zip(streams.digests, counts, strict=True)]
    missing = sum(count for count, digest in zip(counts, whole, strict=True) if digest is None)
    digests = iter(_read_digests(read, missing) if kind == _DIGESTS else (None,) * missing)
    for number, each in enumerate(sizes):
        for size_bytes in each:
            yield Member(number, size_bytes, whole[number] or next(digests))


def _sizes_of(read: _Bytes, size_bytes: int, count: int, *, has_sizes: bool) -> list[int]:
    """Of a folder's members; the last one has what is left."""
    sizes = [read.number() if has_sizes else 0 for _ in range(count - 1)]
    return [*sizes, size_bytes - sum(sizes)] if count else []


def write_streams(streams: Streams) -> bytes:
    """The streams as `read_streams` reads them; digests of packed streams are left out."""
    number = _write_number
    parts = [bytes([_PACK_INFO]), number(streams.pack_at), number(len(streams.pack_sizes)), bytes([_SIZES])]
    parts += [*map(number, streams.pack_sizes), bytes([_END, _UNPACK_INFO, _FOLDERS])]
    parts += [number(len(streams.folders)), b"\0"]
    for folder in streams.folders:
        parts += _write_folder(folder, number)
    parts.append(bytes([_UNPACK_SIZES]))
    parts += [number(size) for folder in streams.folders for size in folder.sizes]
    if any(streams.digests):
        there = "".join("1" if digest else "0" for digest in streams.digests)
        bits = int(there.ljust(-(-len(there) // 8) * 8, "0"), 2).to_bytes(-(-len(there) // 8), "big")
        parts += [bytes([_DIGESTS, 0]), bits, *filter(None, streams.digests)]
    return b"".join([*parts, bytes([_END]), streams.rest])


def _write_folder(folder: Folder, number: Callable[[int], bytes]) -> list[bytes]:
    parts = [number(len(folder.coders))]
    for coder in folder.coders:
        is_complex = (coder.inputs, coder.outputs) != (1, 1)
        flags = len(coder.method) | _COMPLEX * is_complex | _HAS_PROPERTIES * bool(coder.properties)
        parts += [bytes([flags]), coder.method]
        if is_complex:
            parts += [number(coder.inputs), number(coder.outputs)]
        if coder.properties:
            parts += [number(len(coder.properties)), coder.properties]
    parts += [number(at) for bond in folder.bonds for at in bond]
    return parts + [number(at) for at in folder.packed if len(folder.packed) > 1]


def _write_number(value: int) -> bytes:
    """Always in the longest form: which readers take as well."""
    return b"\xff" + value.to_bytes(8, "little")
