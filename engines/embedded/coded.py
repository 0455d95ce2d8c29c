"""Encodings of bytes as text: base64, quoted-printable, uuencode, yEnc; as lenient as the programs that read them.

What may be large is decoded a window at a time, so that it takes memory for what it gives alone.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final

from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Buffer

MAX_STEPS: Final = 1_000_000
"""Lines or escapes of one file: half a second's work. An honest file of so many lines has 45 MB."""
_MAX_BAD_LINES: Final = 1_000
STEPS: Final = "embedded.max_encoded_lines"

WINDOW_BYTES: Final = 1024 * 1024
_ESCAPE_BYTES: Final = 6
"""Of the longest escape: one of JSON's, with four digits."""
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_NOISE: Final = bytes(set(range(256)) - set(_ALPHABET))
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_MAX_PADDINGS: Final = 10_000
"""Of one text: each ends a piece that is decoded by itself."""

_UU_BEGIN: Final = re.compile(rb"^begin(?:-base64)? [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
_UU_END: Final = re.compile(rb"^(?:end|====)[ \t]*\r?$", re.MULTILINE)
_YENC_BEGIN: Final = re.compile(
    rb"^=ybegin [^\r\n]{1,400}?name=([^\r\n]{1,255})\r?\n(?:=ypart [^\r\n]{0,200}\n)?", re.M
)
_YENC_END: Final = b"\n=yend"
_YENC_ESCAPE: Final = re.compile(rb"=(.)", re.DOTALL)
_YENC_SHIFT: Final = bytes((value - 42) % 256 for value in range(256))


def windows(data: Buffer, start: int, end: int, marks: bytes = b"") -> Iterator[bytes]:
    """The data in pieces of some size. None ends inside an escape that one of these marks begins."""
    while start < end:
        stop = min(start + WINDOW_BYTES, end)
        piece = bytes(data[start:stop])
        if stop < end:
            tail = piece[-_ESCAPE_BYTES:]
            cut = max((tail.rfind(marks[at : at + 1]) for at in range(len(marks))), default=-1)
            # A row of escapes is cut before the last one that is not whole.
            if cut >= 0:
                piece = piece[: len(piece) - len(tail) + cut]
        yield piece
        start += len(piece)


def from_base64(text: Buffer) -> bytes:
    return from_base64_pieces(windows(text, 0, len(text)))


def from_base64_pieces(texts: Iterable[bytes]) -> bytes:
    """Decodes past line breaks, noise and padding in the middle, as mail programs and browsers do."""
    out = io.BytesIO()
    left_over = b""
    paddings_left = _MAX_PADDINGS
    for text in texts:
        pieces = (left_over + text.translate(_URL_SAFE, _NOISE)).split(b"=", paddings_left)
        paddings_left -= len(pieces) - 1
        last = pieces.pop()
        if not paddings_left:
            last = last.replace(b"=", b"")
        for piece in filter(None, pieces):
            out.write(_decoded(piece))
        whole = len(last) & ~3
        out.write(binascii.a2b_base64(last[:whole]))
        left_over = last[whole:]
    out.write(_decoded(left_over))
    return out.getvalue()


def _decoded(piece: bytes) -> bytes:
    left_over = len(piece) % 4
    if left_over == 1:
        piece = piece[:-1]
    return binascii.a2b_base64(piece + b"=" * (-len(piece) % 4)) if piece else b""


def from_quoted_printable(text: bytes) -> bytes:
    return b"".join(map(binascii.a2b_qp, _by_lines(text)))


def _by_lines(text: bytes) -> Iterator[bytes]:
    """Windows that end with a line, as far as lines are no longer than windows; else not inside an escape."""
    start = 0
    while start < len(text):
        stop = min(start + WINDOW_BYTES, len(text))
        if stop < len(text):
            line_end = text.rfind(b"\n", start, stop) + 1
            escape = text.rfind(b"=", stop - 2, stop)
            stop = line_end or (escape if escape > start else stop)
        yield text[start:stop]
        start = stop


def encoded_files(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names and contents of files that stand uuencoded or in yEnc in a text."""
    at = 0
    while begin := _UU_BEGIN.search(text, at):
        end = _UU_END.search(text, begin.end())
        at = end.end() if end else len(text)
        packed = text[begin.end() : end.start() if end else at]
        yield begin[1], from_base64(packed) if begin[0].startswith(b"begin-") else _from_uuencode(packed)
    at = 0
    while begin := _YENC_BEGIN.search(text, at):
        end_at = text.find(_YENC_END, begin.end())
        at = end_at if end_at >= 0 else len(text)
        yield begin[1], _from_yenc(text[begin.end() : at])


def from_uuencode(text: bytes) -> bytes:
    """A part that is declared as uuencoded: its first file, or its lines where no file begins."""
    for _, data in encoded_files(text):
        return data
    return _from_uuencode(text)


def _from_uuencode(lines: bytes) -> bytes:
    if lines.count(b"\n") >= MAX_STEPS:
        raise LimitReached(STEPS)
    out = io.BytesIO()
    bad_lines = 0
    for window in _by_lines(lines):
        for line in filter(None, map(bytes.rstrip, window.split(b"\n"))):
            try:
                out.write(binascii.a2b_uu(line))
            except binascii.Error:
                # Some encoders pad the last group with other than blanks; its length is in the first character.
                count = (((line[0] - 32) & 63) * 4 + 5) // 3
                try:
                    out.write(binascii.a2b_uu(line[:count]))
                except binascii.Error:
                    bad_lines += 1
                    if bad_lines > _MAX_BAD_LINES:
                        return out.getvalue()  # no encoder wrote this
    return out.getvalue()


def _from_yenc(lines: bytes) -> bytes:
    packed = lines.translate(None, b"\r\n")
    if packed.count(b"=") > MAX_STEPS:
        raise LimitReached(STEPS)
    packed = _YENC_ESCAPE.sub(lambda found: bytes([(found[1][0] - 64) % 256]), packed)
    return packed.translate(_YENC_SHIFT)
