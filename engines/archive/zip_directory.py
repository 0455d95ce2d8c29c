"""Reads what a ZIP says of itself: end record, central directory, local headers (APPNOTE 6.3.10, §4.3).

Reads lazily, one entry at a time, and believes nothing: counts are not used, sizes are clipped to the file, so that a
directory of a million entries or a lying one costs only what is read of it. (The standard library's reader takes in
the whole directory before it gives the first entry.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from engines.archive.names import member_name
from icapd.scan.model import Buffer

LOCAL_MAGIC: Final = b"PK\x03\x04"
DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"
_ENTRY_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"
_END64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_BYTES: Final = 20
_MAX_COMMENT_BYTES: Final = 0xFFFF
_ZIP64: Final = 0xFFFFFFFF
_MAX_EXTRA_FIELDS: Final = 64
MAX_END_RECORDS: Final = 16
MAX_OTHER_END_RECORDS: Final = 256
"""Behind the directory that nearly all readers take. A presentation in PowerPoint's binary form holds some twenty ZIP
files one after the other."""
"""A file of nothing but their marks takes 10 ms to try them all, and an archive holds thousands of such members."""

ENCRYPTED: Final = 0x0001
STREAMED: Final = 0x0008
"""Sizes and checksum follow the data: those in the local header say nothing."""
_UTF8: Final = 0x0800


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies, and by how much every offset is off because of prepended data."""

    start: int
    end: int
    shift: int

    @property
    def reading(self) -> tuple[int, int]:
        """What two directories share that name the same members."""
        return self.start, self.shift


class Entry(Struct, frozen=True):
    """One member as a header describes it. `end` is one past its packed bytes, clipped to the file.

    Of the directory's entries, `agrees` says whether the local header tells the same of name, method and sizes, and
    `next_record` where the next entry stands.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int
    unpacked_bytes: int
    header: int
    start: int = -1
    end: int = -1
    agrees: bool = True
    next_record: int = -1
    name_bytes: int = 0

    @property
    def is_folder(self) -> bool:
        holds_nothing = not self.packed_bytes and not self.unpacked_bytes and self.end <= self.start
        return holds_nothing and self.name.endswith("/")


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for the directory gave; `gave_up` after MAX_END_RECORDS that pointed nowhere.

    Several directories where readers differ in what the record at `end_record` points at, the likeliest first.
    """

    directories: tuple[Directory, ...] = ()
    end_record: int = -1
    gave_up: bool = False


def find_directory(data: Buffer) -> Search:
    """Looks for what the last end record points at that points at a directory.

    The end record is looked for where a comment of the greatest length leaves it. A search for its last byte alone is
    many times faster than one for four, and enough for most text.
    """
    tail = _tail(data)
    if data.rfind(b"\x06", tail) < 0:
        return Search()
    at = data.rfind(_END_MAGIC, tail)
    for _ in range(MAX_END_RECORDS):
        if at < 0:
            return Search()
        directories = directories_at(data, at)
        if directories:
            return Search(directories, at)
        at = data.rfind(_END_MAGIC, tail, at)
    return Search(gave_up=at >= 0)


def end_records_between(data: Buffer, start: int, end: int) -> Iterator[int]:
    """Where end records may stand, as far as one is looked for, from the back."""
    start = max(start, _tail(data))
    at = data.rfind(_END_MAGIC, start, end) if start < end else -1
    while at >= 0:
        yield at
        at = data.rfind(_END_MAGIC, start, at)


def _tail(data: Buffer) -> int:
    return max(0, len(data) - _END.size - _MAX_COMMENT_BYTES)


def directories_at(data: Buffer, at: int) -> tuple[Directory, ...]:
    """The directories that an end record may point at.

    Some readers go back from the record by the directory's size, others take its offset as it stands; some believe
    the record of ZIP64 where there is one, others only where a field says so, or where the locator says it is. Two
    may read the same directory and yet find other members, by another shift.
    """
    if at + _END.size > len(data):
        return ()
    found: dict[tuple[int, int], Directory] = {}
    for end, size, offset in (*_end64_records(data, at), (at, *_END.unpack(data[at : at + _END.size])[5:7])):
        for start in (end - size, offset):
            if 0 <= start < end and data[start : start + 4] == _ENTRY_MAGIC:
                directory = Directory(start, end, start - offset)
                found.setdefault(directory.reading, directory)
    return tuple(found.values())


def _end64_records(data: Buffer, at: int) -> Iterator[tuple[int, int, int]]:
    """Where a record of ZIP64 stands before an end record, and the size and offset it tells."""
    locator = at - _LOCATOR_BYTES
    if locator < 0 or data[locator : locator + 4] != _LOCATOR_MAGIC:
        return
    located = int.from_bytes(data[locator + 8 : locator + 16], "little")
    for end64 in dict.fromkeys((locator - _END64.size, located)):
        record = data[end64 : end64 + _END64.size] if 0 <= end64 < locator else b""
        if len(record) == _END64.size and record.startswith(_END64_MAGIC):
            size, offset = _END64.unpack(record)[8:10]
            yield end64, size, offset


def entries(data: Buffer, directory: Directory) -> Iterator[Entry]:
    """The entries of the directory, each with its data located through its local header."""
    at = directory.start
    while at + _ENTRY.size <= directory.end and data[at : at + 4] == _ENTRY_MAGIC:
        fields = _ENTRY.unpack(data[at : at + _ENTRY.size])
        _, _, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes, comment_bytes = fields[:13]
        header = fields[16]
        name_end = at + _ENTRY.size + name_bytes
        if _ZIP64 in (packed, unpacked, header):
            extra = bytes(data[name_end : name_end + extra_bytes])
            unpacked, packed, header = _zip64_sizes(extra, unpacked, packed, header)
        raw_name = bytes(data[at + _ENTRY.size : name_end])
        at = name_end + extra_bytes + comment_bytes
        header += directory.shift
        said = (method, packed, unpacked)
        start, end, agrees = _located(data, header, said, raw_name)
        name = _name(raw_name, flags)
        yield Entry(name, flags, method, crc, packed, unpacked, header, start, end, agrees, at, name_bytes)


def _located(data: Buffer, header: int, said: tuple[int, int, int], raw_name: bytes) -> tuple[int, int, bool]:
    """Where the data behind a local header begins and ends, -1 where none stands, and whether it tells the same.

    Args: `said` is what the directory says of method and sizes, packed and unpacked.
    """
    head = data[header : header + _LOCAL.size] if 0 <= header < len(data) else b""
    if len(head) < _LOCAL.size or not head.startswith(LOCAL_MAGIC):
        return -1, -1, True
    _, _, flags, method, _, _, _, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack(head)
    name_at = header + _LOCAL.size
    name_end = name_at + name_bytes
    start = name_end + extra_bytes
    end = min(start + said[1], len(data))
    if _ZIP64 in (packed, unpacked):
        unpacked, packed, _ = _zip64_sizes(bytes(data[name_end:start]), unpacked, packed, 0)
    sizes_agree = flags & STREAMED or (packed, unpacked) == said[1:]
    agrees = bool(sizes_agree) and method == said[0] and data[name_at:name_end] == raw_name
    return min(start, end), end, agrees


def local_entry(data: Buffer, at: int, end: int) -> Entry | None:
    """The entry that a local header at an offset describes; its data may reach up to `end`."""
    if at + _LOCAL.size > end:
        return None
    _, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack(
        data[at : at + _LOCAL.size]
    )
    start = at + _LOCAL.size + name_bytes + extra_bytes
    if start > end:
        return None
    name_end = at + _LOCAL.size + name_bytes
    if _ZIP64 in (packed, unpacked):
        unpacked, packed, _ = _zip64_sizes(bytes(data[name_end:start]), unpacked, packed, 0)
    data_end = end if flags & STREAMED and not packed else min(start + packed, end)
    return Entry(
        _name(bytes(data[at + _LOCAL.size : name_end]), flags),
        flags,
        method,
        crc,
        packed,
        unpacked,
        at,
        start,
        data_end,
        name_bytes=name_bytes,
    )


def local_extra(data: Buffer, at: int) -> bytes:
    """The extra fields of the local header at an offset."""
    name_bytes, extra_bytes = struct.unpack("<HH", data[at + _LOCAL.size - 4 : at + _LOCAL.size])
    start = at + _LOCAL.size + name_bytes
    return bytes(data[start : start + extra_bytes])


def _zip64_sizes(extra: bytes, unpacked: int, packed: int, header: int) -> tuple[int, int, int]:
    """The fields that were too large for 32 bits, from extra field 1; they stand there in this order."""
    at = 0
    for _ in range(_MAX_EXTRA_FIELDS):
        if at + 4 > len(extra):
            break
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(size, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return (
                next(wide, unpacked) if unpacked == _ZIP64 else unpacked,
                next(wide, packed) if packed == _ZIP64 else packed,
                next(wide, header) if header == _ZIP64 else header,
            )
        at += 4 + size
    return unpacked, packed, header


def _name(raw: bytes, flags: int) -> str:
    return member_name(raw, "utf-8" if flags & _UTF8 else "cp437")
