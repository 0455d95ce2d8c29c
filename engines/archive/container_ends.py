"""Where a container ends by its own headers: an archive before that is one of its members, behind it one of nobody's.

What cannot be told for sure ends early: an archive that is found as a member and once more costs time, one that is
found by nobody is a hole. Only the beginning is walked through, as far as an archive is looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from icapd.scan.model import Buffer

_BLOCK: Final = 512
_TAR_BARE: Final = b"123456"
"""Links, devices, folders and pipes: readers pass over their size."""
_TAR_EXTENDED: Final = b"xgX"
_CPIO_LAST: Final = b"TRAILER!!!"
_ISO: Final = "application/x-iso9660-image"
_ISO_FIRST: Final = 16 * 2048
_SEVEN_HEAD: Final = 32
_DIGITS: Final = b"0123456789abcdef"


def _tar(data: Buffer, reach: int) -> int:
    at = 0
    while at < reach:
        head = bytes(data[at : at + _BLOCK])
        size_bytes = _number(head[124:136].strip(b" \0"), 8)
        if size_bytes < 0 or sum(head[:148]) + sum(head[156:]) + 8 * 32 != _number(head[148:156].strip(b" \0"), 8):
            return at
        kind = head[156:157]
        if kind in _TAR_EXTENDED and b"size=" in data[at + _BLOCK : at + _BLOCK + size_bytes]:
            return at  # the size in the header that follows is none
        at += _BLOCK + (0 if kind in _TAR_BARE else size_bytes + -size_bytes % _BLOCK)
    return at


def _ar(data: Buffer, reach: int) -> int:
    at = 8
    while at < reach:
        head = bytes(data[at : at + 60])
        size_bytes = _number(head[48:58].rstrip(), 10)
        if head[58:] != b"`\n" or size_bytes < 0:
            return at
        at += 60 + size_bytes + size_bytes % 2
    return at


def _cpio(data: Buffer, reach: int) -> int:
    at = 0
    while at < reach:
        head = bytes(data[at : at + 110])
        if head[:6] in (b"070701", b"070702"):
            size_bytes, name_bytes, head_bytes, base, step = head[54:62], head[94:102], 110, 16, 4
        elif head[:6] == b"070707":
            size_bytes, name_bytes, head_bytes, base, step = head[65:76], head[59:65], 76, 8, 1
        else:
            return at
        size, length = _number(size_bytes, base), _number(name_bytes, base)
        if size < 0 or length < 0:
            return at
        name_at = at + head_bytes
        at = name_at + length
        at += -at % step + size
        at += -at % step
        if data[name_at : name_at + len(_CPIO_LAST)] == _CPIO_LAST:
            return at
    return at


def _iso9660(data: Buffer, reach: int) -> int:
    return int.from_bytes(data[_ISO_FIRST + 80 : _ISO_FIRST + 84], "little") * 2048


def _seven_zip(data: Buffer, reach: int) -> int:
    return _SEVEN_HEAD + int.from_bytes(data[12:20], "little") + int.from_bytes(data[20:28], "little")


def _number(digits: bytes, base: int) -> int:
    """What the digits say; -1 where something else stands there."""
    is_number = digits and not digits.lower().strip(_DIGITS[:base])
    return int(digits, base) if is_number else -1


_ENDS: Final[dict[str, Callable[[Buffer, int], int]]] = {
    "application/x-tar": _tar,
    "application/x-archive": _ar,
    "application/vnd.debian.binary-package": _ar,
    "application/x-cpio": _cpio,
    _ISO: _iso9660,
    "application/x-7z-compressed": _seven_zip,
}
MEDIA_TYPES: Final = frozenset(_ENDS)


def gaps_of(media_type: str, data: Buffer, reach: int) -> list[tuple[int, int]]:
    """What no member of a container of a known type takes, up to `reach`; an image begins with room for programs."""
    behind = (max(1, _ENDS[media_type](data, reach)), reach)
    return [(1, min(_ISO_FIRST, reach)), behind] if media_type == _ISO else [behind]
