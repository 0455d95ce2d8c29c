"""Headers of MIME messages and parts (RFC 2045, 2047, 2183, 2231), read as leniently as mail programs do.

Programs differ in whom they believe where a header stands twice, so all boundaries and encodings are kept.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

_FIELD: Final = re.compile(rb"^(content-[a-z-]{2,40}|mime-version)[ \t]*:([^\n]*)$", re.IGNORECASE | re.MULTILINE)
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_PARAMETER: Final = re.compile(rb';[ \t]*([\w!#$%&\'*+.^`|~-]{1,80})[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*)')
_ENCODED_WORD: Final = re.compile(r"=\?([\w-]{1,40})(?:\*[\w-]{0,40})?\?([bBqQ])\?([^?]*)\?=(?:[ \t]+(?==\?))?")
_VALUE_BYTES: Final = 8192
_SECTIONS: Final = 64
"""Of one parameter in pieces (RFC 2231 §3)."""

_CHARSETS: Final[dict[str, codecs.CodecInfo]] = {
    name: codecs.lookup(name)
    for name in (
        *("utf-8", "us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251"),
        *(
            "windows-1252",
            "koi8-r",
            "iso-2022-jp",
            "shift_jis",
            "euc-jp",
            "gb2312",
            "gbk",
            "gb18030",
            "big5",
            "euc-kr",
        ),
    )
}
"""Looked up now: Python would read another one's file when it is first asked for, and a scanner opens no file."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What headers say of a part. `name` is a file's, `field` a form's."""

    media_type: str = ""
    boundaries: tuple[bytes, ...] = ()
    encodings: tuple[str, ...] = ()
    name: str = ""
    field: str = ""

    @property
    def is_multipart(self) -> bool:
        return self.media_type.startswith("multipart/")


_COMMENT_MARK: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_UNQUOTED: Final = bytes.maketrans(b"\"'", b"  ")


def read_headers(block: bytes) -> Headers:
    """The headers of a block; those of no interest are passed over, and so is what is no header."""
    media_type = name = field = location = ""
    boundaries: list[bytes] = []
    encodings: list[str] = []
    for found in _FIELD.finditer(_FOLD.sub(b" ", block)):
        value = found[2].strip()[:_VALUE_BYTES]
        match found[1].lower():
            case b"content-type":
                media_type = media_type or _token(found[2])
                parameters = _parameters(value)
                boundaries += [raw for key, raw in parameters if key == b"boundary" and raw]
                name = name or _text(parameters, b"name")
            case b"content-disposition":
                parameters = _parameters(value)
                name = _text(parameters, b"filename") or name
                field = field or _text(parameters, b"name")
            case b"content-transfer-encoding":
                encodings.append(_token(found[2]))
            case b"content-location":
                location = location or value.decode("utf-8", "replace")
            case _:
                pass
    name = name or location.rstrip("/").rpartition("/")[2]
    return Headers(media_type, tuple(dict.fromkeys(boundaries)), tuple(dict.fromkeys(encodings)), name, field)


def _token(value: bytes) -> str:
    """The first word, in quotation marks or not; comments may stand before it and behind it (RFC 2045 §6.1)."""
    words = _without_comments(value).partition(b";")[0].translate(_UNQUOTED).split()
    return words[0].lower().decode("ascii", "replace") if words else ""


def _without_comments(value: bytes) -> bytes:
    """The value without what stands in parentheses, which nest (RFC 5322 §3.2.2); one that is not closed is kept."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    at = depth = 0
    for mark in _COMMENT_MARK.finditer(value):
        if mark[0] == b"(":
            if not depth:
                kept.append(value[at : mark.start()])
                at = mark.start()
            depth += 1
        elif mark[0] == b")" and depth:
            depth -= 1
            at = at if depth else mark.end()
    return b" ".join([*kept, value[at:]])


def _parameters(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(found[1].lower(), _unquoted(found[2])) for found in _PARAMETER.finditer(value)]


def _unquoted(raw: bytes) -> bytes:
    raw = raw.strip()
    if len(raw) > 1 and raw.startswith(b'"') and raw.endswith(b'"'):
        return re.sub(rb"\\(.)", rb"\1", raw[1:-1])
    return raw.strip(b'"')


def _text(parameters: list[tuple[bytes, bytes]], wanted: bytes) -> str:
    """A parameter as text: plain, with encoded words, extended, or in pieces."""
    pieces: dict[int, bytes] = {}
    charset = ""
    for key, raw in parameters:
        base, _, section = key.partition(b"*")
        if base != wanted:
            continue
        if not section and key == wanted:
            return _without_words(_decoded(raw, "utf-8"))
        number = section.rstrip(b"*")
        if number and not (number.isdigit() and len(number) < 4):
            continue
        if section.endswith(b"*") or not section:
            declared, tick, rest = raw.partition(b"'")
            if tick and not pieces:
                charset = declared.decode("ascii", "replace")
                raw = rest.partition(b"'")[2]
            raw = unquote_to_bytes(raw)
        if len(pieces) < _SECTIONS:
            pieces.setdefault(int(number or 0), raw)
    return _decoded(b"".join(raw for _, raw in sorted(pieces.items())), charset)


def _without_words(text: str) -> str:
    """Encoded words decoded, those in charsets we do not have as Latin-1."""
    if "=?" not in text:
        return text
    return _ENCODED_WORD.sub(lambda word: _word(word[1], word[2], word[3]), text)


def _word(charset: str, kind: str, packed: str) -> str:
    raw = packed.encode("latin-1", "replace")
    if kind in "qQ":
        return _decoded(binascii.a2b_qp(raw, header=True), charset)
    try:
        return _decoded(binascii.a2b_base64(raw), charset)
    except binascii.Error:
        return packed


def _decoded(raw: bytes, charset: str) -> str:
    codec = _CHARSETS.get(charset.lower())
    text: str = (codec.decode(raw, "replace") if codec else codecs.latin_1_decode(raw))[0]
    return text
