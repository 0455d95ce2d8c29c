"""Reads PDF values (ISO 32000-2, 7.3) out of bytes, forgiving as readers are and bounded as they are not.

A value is None, bool, int, float, bytes (a string), Name, list, dict or Ref. Names are normalised: `/J#61va` is
`Java`. What cannot be read becomes None, and reading goes on behind it.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Buffer

DEPTH_MAX: Final = 48
TOKENS_MAX: Final = 300_000
"""Of one document, and one more for each `BYTES_FOR_A_TOKEN` of it."""
BYTES_FOR_A_TOKEN: Final = 128
TOKENS_LIMIT: Final = "pdf.max_tokens"
STRING_BYTES_MAX: Final = 4 * 1024 * 1024
_BYTES_A_TOKEN: Final = 64
"""So many bytes of a string or comment count like one token more: objects may overlap, and be read many times."""

_BLANKS: Final = frozenset((b"\0", b"\t", b"\n", b"\f", b"\r", b" "))
_BLANK = re.compile(rb"[\0\t\n\f\r ]*")
_LINE = re.compile(rb"[^\r\n]*")
_REF = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]{1,64}(\d{1,10})[\0\t\n\f\r ]{1,64}R(?![A-Za-z])")
_NUMBER = re.compile(rb"[-+]{0,4}[0-9.][0-9.\-]{0,32}")
_NAME = re.compile(rb"/[^\0\t\n\f\r ()<>\[\]{}/%]*")
_WORD = re.compile(rb"[A-Za-z]{1,32}")
_HEX = re.compile(rb"<([^<>]*)>?")
_PAREN = re.compile(rb"[()\\]")
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(\r\n|[\r\n])|(.))", re.DOTALL)
_NOT_HEX: Final = bytes(byte for byte in range(256) if byte not in b"0123456789abcdefABCDEF")
_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_WORDS: Final = {b"true": True, b"false": False}


class Name(str):
    """A name, without its slash. Equal to the string of its characters."""

    __slots__ = ()


class Ref(NamedTuple):
    number: int
    generation: int


Value = None | bool | int | float | bytes | Name | list["Value"] | dict[str, "Value"] | Ref


class Reader:
    """Reads values from one buffer.

    State: `tokens`, one number in a list that all readers of a document share, shrinks; `escaped` collects names that
    were written with escapes for letters that need none.
    """

    def __init__(self, data: Buffer, tokens: list[int], escaped: set[str]) -> None:
        self._data = data
        self._tokens = tokens
        self._escaped = escaped

    def value(self, at: int, depth: int = 0) -> tuple[Value, int]:
        """The value at an offset, and where it ends.

        Raises: LimitReached for more tokens than one document may have.
        """
        self._spend(1)
        data = self._data
        at = self.skip(at)
        first = data[at : at + 1]
        if first == b"/":
            return self._name(at)
        if first == b"<":
            if data[at : at + 2] == b"<<":
                return self._dictionary(at + 2, depth)
            return self._hex(at)
        if first == b"[":
            return self._array(at + 1, depth)
        if first == b"(":
            return self._string(at + 1)
        if first and first in b"0123456789+-.":
            return self._number(at)
        word = _WORD.match(data, at)
        if word is not None:
            return _WORDS.get(word[0]), word.end()
        return None, at + 1

    def _spend(self, count: int) -> None:
        self._tokens[0] -= count
        if self._tokens[0] < 0:
            raise LimitReached(TOKENS_LIMIT)

    def skip(self, at: int) -> int:
        """Past white space and comments."""
        data = self._data
        while True:
            first = data[at : at + 1]
            if first in _BLANKS:
                blank = _BLANK.match(data, at)
                assert blank is not None
                at = blank.end()
                first = data[at : at + 1]
            if first != b"%":
                return at
            line = _LINE.match(data, at)
            end = line.end() if line else at + 1
            self._spend(1 + (end - at) // _BYTES_A_TOKEN)
            at = end

    def _name(self, at: int) -> tuple[Name, int]:
        match = _NAME.match(self._data, at)
        assert match is not None
        return Name(self.plain_name(match[0][1:257])), match.end()

    def plain_name(self, raw: bytes) -> str:
        if b"#" not in raw:
            return raw.decode("latin-1")
        plain = _ESCAPED.sub(_unhex, raw).decode("latin-1")
        if any(chr(int(code, 16)).isalnum() for code in _ESCAPED.findall(raw)):
            self._escaped.add(plain)
        return plain

    def _number(self, at: int) -> tuple[Value, int]:
        ref = _REF.match(self._data, at)
        if ref is not None:
            return Ref(int(ref[1]), int(ref[2])), ref.end()
        match = _NUMBER.match(self._data, at)
        if match is None:
            return None, at + 1
        try:
            return int(match[0]), match.end()
        except ValueError:
            pass
        try:
            return float(match[0]), match.end()
        except ValueError:
            return 0, match.end()

    def _hex(self, at: int) -> tuple[bytes, int]:
        match = _HEX.match(self._data, at)
        assert match is not None
        self._spend((match.end() - at) // _BYTES_A_TOKEN)
        digits = match[1][:STRING_BYTES_MAX].translate(None, _NOT_HEX)
        return binascii.unhexlify(digits + b"0" * (len(digits) % 2)), match.end()

    def _string(self, at: int) -> tuple[bytes, int]:
        """A literal string: parentheses in it are balanced or escaped."""
        data = self._data
        depth = 1
        place = at
        while depth and (match := _PAREN.search(data, place)):
            self._spend(1 + (match.end() - place) // _BYTES_A_TOKEN)
            place = match.end()
            if match[0] == b"\\":
                place += 1
            else:
                depth += 1 if match[0] == b"(" else -1
        end = place if not depth else len(data)
        self._spend((end - place) // _BYTES_A_TOKEN)
        raw = data[at : min(end - (not depth), at + STRING_BYTES_MAX)]
        return (_ESCAPE.sub(_unescape, raw) if b"\\" in raw else raw), end

    def _array(self, at: int, depth: int) -> tuple[list[Value], int]:
        items: list[Value] = []
        while True:
            at = self.skip(at)
            first = self._data[at : at + 1]
            if not first or self._data[at : at + 6] == b"endobj" or depth >= DEPTH_MAX:
                return items, at
            if first == b"]":
                return items, at + 1
            if first == b">":
                return items, at
            item, at = self.value(at, depth + 1)
            items.append(item)

    def _dictionary(self, at: int, depth: int) -> tuple[dict[str, Value], int]:
        """Key and value by turns. Of a key that comes twice the first stays too, under its name and a zero byte."""
        items: dict[str, Value] = {}
        data = self._data
        while True:
            at = self.skip(at)
            first = data[at : at + 1]
            if not first or data[at : at + 6] in (b"endobj", b"stream") or depth >= DEPTH_MAX:
                return items, at
            if first == b">":
                return items, at + (2 if data[at : at + 2] == b">>" else 1)
            if first != b"/":
                _, at = self.value(at, depth + 1)
                continue
            key, at = self._name(at)
            at = self.skip(at)
            if data[at : at + 1] == b">":
                items[key] = None
                continue
            value, at = self.value(at, depth + 1)
            if key in items:
                items[f"{key}\0"] = items[key]
            items[str(key)] = value


def _unhex(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes([int(match[1], 8) & 0xFF])
    return b"" if match[2] else _ESCAPES.get(match[3], match[3])


def text_of(value: Value) -> str:
    """A text string (7.9.2.2) as text: UTF-16 and UTF-8 by their marks, else eight-bit."""
    if isinstance(value, Name):
        return str(value)
    if not isinstance(value, bytes):
        return ""
    if value.startswith((b"\xfe\xff", b"\xff\xfe")):
        return value.decode("utf-16", "replace")
    if value.startswith(b"\xef\xbb\xbf"):
        return value[3:].decode("utf-8", "replace")
    return value.decode("latin-1")
