"""Writes ZIPs as no archiver does: every header says what it is told."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

STORED = 0
DEFLATED = 8
ENCRYPTED = 1
STREAMED = 8


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@dataclass(frozen=True)
class Header:
    """What a header, local or of the directory, says of a member."""

    name: bytes
    packed_bytes: int
    unpacked_bytes: int
    crc: int
    method: int = DEFLATED
    flags: int = 0

    def local(self) -> bytes:
        fields = (20, self.flags, self.method, 0, 0, self.crc, self.packed_bytes, self.unpacked_bytes)
        return struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields, len(self.name), 0) + self.name

    def entry(self, at: int) -> bytes:
        fields = (20, 20, self.flags, self.method, 0, 0, self.crc, self.packed_bytes, self.unpacked_bytes)
        rest = (len(self.name), 0, 0, 0, 0, 0, at)
        return struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *fields, *rest) + self.name


def header_of(name: bytes, data: bytes, packed: bytes, method: int = DEFLATED, flags: int = 0) -> Header:
    return Header(name, len(packed), len(data), zlib.crc32(data), method, flags)


def end_record(count: int, directory_bytes: int, at: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, directory_bytes, at, 0)


def closed(local: bytes, *entries: bytes) -> bytes:
    """A whole archive of local headers with their data, and entries."""
    directory = b"".join(entries)
    return local + directory + end_record(len(entries), len(directory), len(local))
