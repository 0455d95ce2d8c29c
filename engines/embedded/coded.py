"""Encodings of bytes as text: base64, quoted-printable, uuencode, yEnc; as lenient as the programs that read them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from icapd.scan.engine_api import LimitReached

MAX_STEPS: Final = 1_000_000
"""Lines or escapes of one file: half a second's work. An honest file of so many lines has 45 MB."""
_MAX_BAD_LINES: Final = 1_000
STEPS: Final = "embedded.max_encoded_lines"

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


def from_base64(text: bytes) -> bytes:
    """Decodes past line breaks, noise and padding in the middle, as mail programs and browsers do."""
    packed = text.translate(_URL_SAFE, _NOISE)
    pieces = packed.split(b"=", _MAX_PADDINGS)
    if len(pieces) > _MAX_PADDINGS:
        pieces[-1] = pieces[-1].replace(b"=", b"")
    return b"".join(_decoded(piece) for piece in pieces if piece)


def _decoded(piece: bytes) -> bytes:
    left_over = len(piece) % 4
    if left_over == 1:
        piece = piece[:-1]
    return binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))


def from_quoted_printable(text: bytes) -> bytes:
    return binascii.a2b_qp(text)


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
    out = []
    split = lines.split(b"\n", MAX_STEPS)
    if len(split) > MAX_STEPS:
        raise LimitReached(STEPS)
    bad_lines = 0
    for line in filter(None, map(bytes.rstrip, split)):
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            # Some encoders pad the last group with other than blanks; its length is in the first character.
            count = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                out.append(binascii.a2b_uu(line[:count]))
            except binascii.Error:
                bad_lines += 1
                if bad_lines > _MAX_BAD_LINES:
                    break  # no encoder wrote this
    return b"".join(out)


def _from_yenc(lines: bytes) -> bytes:
    packed = lines.translate(None, b"\r\n")
    if packed.count(b"=") > MAX_STEPS:
        raise LimitReached(STEPS)
    packed = _YENC_ESCAPE.sub(lambda found: bytes([(found[1][0] - 64) % 256]), packed)
    return packed.translate(_YENC_SHIFT)
