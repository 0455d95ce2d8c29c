"""Whether a RAR archive is one volume of several: libarchive reads what is there and does not tell."""

from __future__ import annotations

import struct
from typing import Final

HEAD_BYTES: Final = 64
_RAR4: Final = b"Rar!\x1a\x07\x00"
_RAR5: Final = b"Rar!\x1a\x07\x01\x00"
_RAR4_MAIN: Final = 0x73
_RAR5_MAIN: Final = 1
_VOLUME: Final = 1
_HAS_EXTRA: Final = 1
_HAS_DATA: Final = 2


def is_volume(head: bytes) -> bool:
    """By the flags of the main header, which is the first."""
    if head.startswith(_RAR4) and len(head) >= 12:
        kind, flags = struct.unpack_from("<BH", head, 9)
        return bool(kind == _RAR4_MAIN and flags & _VOLUME)
    if not head.startswith(_RAR5):
        return False
    at = len(_RAR5) + 4  # past its checksum
    _, at = vint(head, at)
    kind, at = vint(head, at)
    flags, at = vint(head, at)
    for bit in (_HAS_EXTRA, _HAS_DATA):
        if flags & bit:
            _, at = vint(head, at)
    return kind == _RAR5_MAIN and bool(vint(head, at)[0] & _VOLUME)


def vint(head: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, seven bits a byte, and where the next one stands; 0 past the end."""
    number = shift = 0
    for byte in head[at : at + 10]:
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            break
    return number, at
