"""Writes archives whose tools are rare or write no odd ones: RAR, LZH, cpio, ar, RPM, xar. Everything is stored."""

from __future__ import annotations

import struct
import zlib

Members = dict[str, bytes]

RAR4_MARK = b"Rar!\x1a\x07\x00"
RAR5_MARK = b"Rar!\x1a\x07\x01\x00"
RAR4_ENCRYPTED = 0x0004
RAR4_GOES_ON = 0x0002
RAR4_VOLUME = 0x0001
RAR4_SOLID = 0x0010


def rar4(members: Members, file_flags: int = 0, archive_flags: int = 0, mode: int = 0o100644) -> bytes:
    def block(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    out = bytearray(RAR4_MARK + block(0x73, archive_flags, bytes(6)))
    for name, data in members.items():
        fields = (len(data), len(data), 3, zlib.crc32(data), 0, 29, 0x30, len(name), mode)
        out += block(0x74, 0x8000 | file_flags, struct.pack("<IIBIIBBHI", *fields) + name.encode()) + data
    return bytes(out) + block(0x7B, 0x4000, b"")


def rar5(members: Members, file_extra: bytes = b"", archive_flags: bytes = b"\x00") -> bytes:
    """A name that ends with a slash is a folder's."""
    out = bytearray(RAR5_MARK + rar5_block(b"\x01\x00" + archive_flags))
    for name, data in members.items():
        has_extra = bool(file_extra)
        head = bytes([2, 2 | has_extra]) + (_vint(len(file_extra)) if has_extra else b"")
        is_folder, name = name.endswith("/"), name.rstrip("/")
        mode = _vint(0o040755 if is_folder else 0o100644)
        head += _vint(len(data)) + bytes([4 | is_folder]) + _vint(len(data)) + mode
        head += struct.pack("<I", zlib.crc32(data)) + b"\x00\x01" + _vint(len(name)) + name.encode() + file_extra
        out += rar5_block(head) + data
    return bytes(out) + rar5_block(b"\x05\x00\x00")


def rar5_block(head: bytes) -> bytes:
    sized = _vint(len(head)) + head
    return struct.pack("<I", zlib.crc32(sized)) + sized


RAR5_ENCRYPTED = bytes([36, 1, 0, 0, 15]) + bytes(16 + 16)
"""An extra record: AES-256, salt and initialisation vector."""


def _vint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def lzh(members: Members) -> bytes:
    out = bytearray()
    for name, data in members.items():
        body = struct.pack("<5sIIIBBB", b"-lh0-", len(data), len(data), 0, 0x20, 0, len(name))
        body += name.encode() + struct.pack("<H", _crc16(data))
        out += bytes([len(body), sum(body) & 0xFF]) + body + data
    return bytes(out) + b"\x00"


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def cpio(members: Members) -> bytes:
    """The "new" ASCII format."""
    out = bytearray()
    for name, data in (*members.items(), ("TRAILER!!!", b"")):
        fields = (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\x00"
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return bytes(out)


def ar(members: Members) -> bytes:
    out = bytearray(b"!<arch>\n")
    for name, data in members.items():
        out += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode() + b"/", 0, 0, 0, b"100644", len(data))
        out += data + b"\n" * (len(data) & 1)
    return bytes(out)


def rpm(payload: bytes) -> bytes:
    header = b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">2I", 1, 3)
    entry = struct.pack(">4I", 1000, 6, 0, 1)
    signature = header + entry + b"ab\x00"
    padding = bytes(-(96 + len(signature)) % 8)
    return b"\xed\xab\xee\xdb\x03\x00" + bytes(90) + signature + padding + header + entry + b"cd\x00" + payload


def xar(members: Members, style: str = "application/octet-stream", folder: str = "") -> bytes:
    files, heap = "", bytearray()
    for name, data in members.items():
        files += (
            f'<file id="1"><name>{name}</name><data><length>{len(data)}</length><offset>{len(heap)}</offset>'
            f'<size>{len(data)}</size><encoding style="{style}"/></data></file>'
        )
        heap += data
    if folder:
        files = f"<file><name>{folder}</name>{files}</file>"
    return xar_of(f'<?xml version="1.0" encoding="UTF-8"?><xar><toc>{files}</toc></xar>'.encode(), bytes(heap))


def xar_of(contents: bytes, heap: bytes = b"") -> bytes:
    packed = zlib.compress(contents)
    return struct.pack(">4s2H2QI", b"xar!", 28, 1, len(packed), len(contents), 0) + packed + heap
