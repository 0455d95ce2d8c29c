"""Proves by structure that a picture, font or sound holds nothing but what its format has it hold. Pure.

A magic number proves nothing: polyglots have one, too. Here every part of the file is named and measured, none but
the parts that a viewer needs may be there, it ends where its format says, and no mark of a ZIP directory or of a PDF
is where readers look for them. That is all that engines which open samples could find in it. Whatever is odd is not
inert.

Engines that match patterns could find more. For them the proof is a thorough one: compressed data has no run of text,
in eight bits or sixteen, and a JPEG has no marker that is not counted. What is left to hide in then is binary data,
and text in pieces below 24 bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Final

from icapd.scan.model import Buffer

LEAST_BYTES: Final = 64
TEXT_RUN_BYTES: Final = 24
PARTS_MAX: Final = 4096

_STRIDE: Final = 4
_TEXT: Final = bytes(1 if value in b"\0\t\n\r" or 32 <= value < 127 else 0 for value in range(256))
"""Zeros count as text: in sixteen bits they stand between the letters."""
_SAMPLED: Final = b"\x01" * (TEXT_RUN_BYTES // _STRIDE)
_RUN: Final = b"\x01" * TEXT_RUN_BYTES
_ZIP_END: Final = b"PK\x05\x06"
_PDF_WITHIN_BYTES: Final = 1024 + 5

_PNG_HEAD: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_SMALL: Final = {
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"pHYs": 9,
    b"tIME": 7,
    b"sBIT": 4,
    b"bKGD": 6,
}
"""Parts of a few bytes, and how many at most. Those for text, profiles and Exif are not among them."""
_LONG: Final = struct.Struct(">I")


def has_text(data: Buffer, start: int, end: int) -> bool:
    """Whether so many bytes of text stand in a row. Every fourth byte is looked at first.

    True also where there is too much that almost is: noise has one such place in some 400 bytes.
    """
    sampled = data[start:end:_STRIDE].translate(_TEXT)
    looks_left = 64 + (end - start) // 200
    at = sampled.find(_SAMPLED)
    while at >= 0:
        near = max(start, start + at * _STRIDE - _STRIDE + 1)
        around = data[near : min(end, near + TEXT_RUN_BYTES + 2 * _STRIDE)].translate(_TEXT)
        looks_left -= 1
        if _RUN in around or not looks_left:
            return True
        at = sampled.find(_SAMPLED, at + 1)
    return False


def _png(data: Buffer, size: int, is_thorough: bool) -> bool:
    """IHDR, palette, pixels, IEND as the last twelve bytes, and of the rest only what has a few bytes."""
    if data[:16] != _PNG_HEAD or data[size - 12 :] != _PNG_END:
        return False
    at = 33
    for _ in range(PARTS_MAX):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"IEND":
            return end == size
        if end > size:
            return False
        if kind == b"IDAT" or kind in (b"PLTE", b"tRNS"):
            if kind != b"IDAT" and length > 768:
                return False
            if is_thorough and has_text(data, at + 8, end - 4):
                return False
        elif length > _PNG_SMALL.get(kind, -1):
            return False
        at = end
    return False


def _jpeg(data: Buffer, size: int, is_thorough: bool) -> bool:
    """Tables, frames and scans up to the first end-of-image marker, which is the end of the file.

    Thorough or not at all: the way through the scans costs more than the engines that open samples.
    """
    if not is_thorough or data[:2] != b"\xff\xd8" or data[size - 2 :] != b"\xff\xd9":
        return False
    at = 2
    for _ in range(PARTS_MAX):
        if data[at] != 0xFF:
            return False
        marker, length = data[at + 1], (data[at + 2] << 8) + data[at + 3]
        end = at + 2 + length
        if end > size - 2 or length < 2 or length - 2 > _SEGMENT_BYTES_MAX.get(marker, -1):
            return False
        if not _is_plain_segment(marker, data[at + 4 : end]):
            return False
        at = end
        if marker == _SCAN:
            at = _scan_end(data, end)
            if has_text(data, end, at):
                return False
            if data[at + 1] == _END:
                return at == size - 2
    return False


_END: Final = 0xD9
_SCAN: Final = 0xDA
_JFIF, _QUANTISATION, _HUFFMAN, _RESTART = 0xE0, 0xDB, 0xC4, 0xDD
_SEGMENT_BYTES_MAX: Final = {
    _JFIF: 14,
    _QUANTISATION: 4 * 129,
    _HUFFMAN: 8 * (17 + 256),
    _RESTART: 2,
    _SCAN: 32,
    **dict.fromkeys((0xC0, 0xC1, 0xC2), 32),
}
"""Markers that may come before compressed data, and how much may follow each. JFIF's is one without a thumbnail."""


def _is_plain_segment(marker: int, body: bytes) -> bool:
    if marker == _QUANTISATION:
        # 64 numbers of the encoder's choice, many of them letters: what begins a page or an address is not by chance.
        return not any(mark in body for mark in (b"<?", b"<%", b"<s", b"<S", b"://"))
    return marker != _HUFFMAN or _is_plain_table(body)


def _is_plain_table(body: bytes) -> bool:
    """Huffman tables: no symbol comes twice, so that no sentence is one."""
    at = 0
    while at + 17 <= len(body):
        count = sum(body[at + 1 : at + 17])
        symbols = body[at + 17 : at + 17 + count]
        if len(symbols) != count or len(set(symbols)) != count:
            return False
        at += 17 + count
    return at == len(body)


def _scan_end(data: Buffer, at: int) -> int:
    """Where the next marker is: in compressed data 0xFF is followed by 0, or by a restart marker."""
    found = _MARKER.search(data, at)
    return found.start() if found else len(data)


_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def _riff(data: Buffer, size: int, form: bytes, kinds: frozenset[bytes], is_thorough: bool) -> bool:
    """One level of chunks, each of a kind that is allowed, up to the end and in the length that is told."""
    if data[:4] != b"RIFF" or data[8:12] != form or int.from_bytes(data[4:8], "little") != size - 8:
        return False
    at = 12
    while at + 8 <= size:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + (length & 1)
        if kind not in kinds or end > size or (is_thorough and has_text(data, at + 8, end)):
            return False
        at = end
    return at == size


def _webp(data: Buffer, size: int, is_thorough: bool) -> bool:
    """A picture without profile, Exif, XMP or animation."""
    return _riff(data, size, b"WEBP", frozenset({b"VP8 ", b"VP8L"}), is_thorough)


def _wave(data: Buffer, size: int, is_thorough: bool) -> bool:
    return _riff(data, size, b"WAVE", frozenset({b"fmt ", b"data"}), is_thorough)


def _woff2(data: Buffer, size: int, is_thorough: bool) -> bool:
    """The length told is the file's; no metadata, no private block; the one compressed stream ends it."""
    if data[:4] != b"wOF2" or size < 48 or _LONG.unpack(data[8:12])[0] != size or any(data[28:48]):
        return False
    compressed = _LONG.unpack(data[20:24])[0]
    directory = size - compressed - 48
    # A table's row is at most 17 bytes; the stream is padded to four.
    if not 0 < directory <= 17 * int.from_bytes(data[12:14], "big") + 3:
        return False
    return not (is_thorough and has_text(data, 48, size))


_PROOFS: Final[dict[str, Callable[[Buffer, int, bool], bool]]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "audio/wav": _wave,
    "font/woff2": _woff2,
}
INERT_TYPES: Final = frozenset(_PROOFS)


def is_inert(data: Buffer, media_type: str, *, is_thorough: bool = True) -> bool:
    """True for a sample of this type that is proven to hold nothing else; False when in doubt."""
    proof = _PROOFS.get(media_type)
    size = len(data)
    if proof is None or size < LEAST_BYTES:
        return False
    try:
        is_proven = proof(data, size, is_thorough)
    except (struct.error, IndexError):  # cut short inside a part's head
        return False
    return is_proven and data.find(_ZIP_END) < 0 and b"%PDF" not in data[:_PDF_WITHIN_BYTES]
