"""Writes 7z archives that 7-Zip would not: stored members, encrypted or not, with right, wrong or no checksums."""

from __future__ import annotations

import hashlib
import lzma
import struct
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from engines.archive.seven_header import Coder, Folder, Streams, write_streams

_POWER = 10
_VECTOR = bytes(range(16))


class Stored(NamedTuple):
    """A member; `crc` is empty for none."""

    name: str
    data: bytes
    password: str = ""
    crc: bytes = b""


def checksum(data: bytes) -> bytes:
    return struct.pack("<I", crc32(data))


def seven_zip(members: Sequence[Stored], *, with_folders: bool = False) -> bytes:
    """Args: `with_folders` writes the checksums where a folder's stand, else where a member's do."""
    packed, folders = [], []
    for member in members:
        piece, coder = _encrypted(member) if member.password else (member.data, Coder(b"\0"))
        packed.append(piece)
        folders.append(Folder((coder,), (), (0,), (len(member.data),)))
    checksums = tuple(member.crc or None for member in members)
    digests: tuple[bytes | None, ...] = checksums
    rest = b"\x08\0\0"
    if not with_folders:
        there = "".join("1" if crc else "0" for crc in checksums).ljust(8, "0")
        rest = b"\x08\x0a\0" + bytes([int(there, 2)]) + b"".join(filter(None, checksums)) + b"\0\0"
        digests = (None,) * len(members)
    streams = Streams(0, tuple(map(len, packed)), tuple(folders), digests, rest)
    names = b"\0" + b"".join(member.name.encode("utf-16-le") + b"\0\0" for member in members)
    files = bytes([5, len(members), 0x11, len(names)]) + names + b"\0\0"
    return _framed(b"".join(packed), b"\x01\x04" + write_streams(streams) + files)


def with_packed_header(header: bytes) -> bytes:
    """An archive that is nothing but this header, packed."""
    lzma1 = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 24}
    packed = lzma.compress(header, lzma.FORMAT_RAW, filters=[lzma1])
    coder = Coder(b"\x03\x01\x01", 1, 1, b"\x5d" + struct.pack("<I", 1 << 24))
    folder = Folder((coder,), (), (0,), (len(header),))
    return _framed(packed, b"\x17" + write_streams(Streams(0, (len(packed),), (folder,), (checksum(header),), b"")))


def _framed(body: bytes, header: bytes) -> bytes:
    start = struct.pack("<QQ", len(body), len(header)) + checksum(header)
    return b"7z\xbc\xaf\x27\x1c\0\4" + checksum(start) + start + body + header


def _encrypted(member: Stored) -> tuple[bytes, Coder]:
    seed, digest = member.password.encode("utf-16-le"), hashlib.sha256()
    for number in range(1 << _POWER):
        digest.update(seed + number.to_bytes(8, "little"))
    encrypt = Cipher(algorithms.AES(digest.digest()), modes.CBC(_VECTOR)).encryptor()
    piece = encrypt.update(member.data + bytes(-len(member.data) % 16))
    return piece, Coder(b"\x06\xf1\x07\x01", 1, 1, bytes([_POWER | 0x40, 0x0F]) + _VECTOR)
