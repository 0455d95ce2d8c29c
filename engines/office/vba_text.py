"""Visual Basic source made comparable: comments gone, lines joined, strings that were taken apart put together again.

A text's tricks are counted while they are undone: ordinary macros need none of them. Every step is one pass by an
expression without nested repetition, so time grows with the text alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TEXT_CHARACTERS_MAX: Final = 3 * 1024 * 1024
DECODED_CHARACTERS_MAX: Final = 1024 * 1024
MANY_JOINS: Final = 20
MANY_CODES: Final = 10
MANY_NUMBERS: Final = 12

_CONTINUED = re.compile(r"[ \t]_[ \t]*\r?\n[ \t]*")
_ATTRIBUTE = re.compile(r"^attribute (?!vb_name)[^\n]*\n?", re.MULTILINE)
_STRING_OR_COMMENT = re.compile(r"(\"(?:[^\"\n]|\"\")*\"?)|'[^\n]*|(?:^|(?<=[\n:]))[ \t]*rem[ \t][^\n]*")
_CODE = re.compile(
    r"\bchr[bw]?\$?[ \t]*\([ \t]*(?:clng|cint)?[ \t]*\(?[ \t]*(&h[0-9a-f]{1,5}|\d{1,6})&?"
    r"[ \t]*(?:(xor|[-+*/])[ \t]*(&h[0-9a-f]{1,5}|\d{1,6})&?[ \t]*)?\)(?:[ \t]*\))?"
)
_REVERSED = re.compile(r"\bstrreverse\$?[ \t]*\([ \t]*\"([^\"\n]{1,4000})\"[ \t]*\)")
_JOIN = re.compile(r"(?<=[^\"\n])\"[ \t]*[&+][ \t]*\"(?!\")")
_HEX = re.compile(r"\"((?:[0-9a-f]{2}){8,4000})\"")
_BASE64 = re.compile(r"\"([a-z0-9+/]{24,16000}={0,2})\"", re.IGNORECASE)
_NUMBERS = re.compile(r"\barray[ \t]*\([ \t]*((?:(?:&h[0-9a-f]{1,5}|-?\d{1,6})&?[ \t]*,[ \t]*){8,4000}[^)\n]{1,9})\)")
_NUMBER = re.compile(r"&h[0-9a-f]{1,5}|\d{1,6}")
_PRINTABLE: Final = frozenset(range(32, 127)) | {9, 10, 13}


@dataclass(frozen=True, slots=True)
class Prepared:
    """`plain` is the text as written, lower case and without comments; `decoded` what undoing its tricks added."""

    plain: str
    decoded: str
    tricks: frozenset[str]
    is_cut: bool


class _Tricks:
    """State: how often each trick was met, and what it hid."""

    def __init__(self, check_time: Callable[[], None]) -> None:
        self.codes = self.reversed = self.hex = self.base64 = self.numbers = 0
        self._hidden: list[str] = []
        self._left = DECODED_CHARACTERS_MAX
        self._check_time = check_time

    def keep(self, text: str) -> bool:
        """Keeps text that was hidden; False when it is no text."""
        sample = text[:64]
        if not sample or sum(ord(char) in _PRINTABLE for char in sample) < 0.9 * len(sample):
            return False
        if self._left > 0:
            self._hidden.append(text[: self._left].lower())
        self._left -= len(text)
        return True

    @property
    def is_cut(self) -> bool:
        return self._left < 0

    @property
    def hidden(self) -> str:
        return "\n".join(self._hidden)

    def code(self, match: re.Match[str]) -> str:
        self.codes += 1
        if self.codes % 1024 == 0:
            self._check_time()
        value = _value(match[1])
        if match[2]:
            other = _value(match[3])
            results = {"+": value + other, "-": value - other, "*": value * other, "xor": value ^ other}
            value = results.get(match[2], value // other if other else -1)
        if not 0 <= value < 0x10000 or 0xD800 <= value < 0xE000:
            return '""'
        char = chr(value).lower()
        return '""""' if char == '"' else f'"{char}"' if char not in "\r\n" else '" "'

    def turn(self, match: re.Match[str]) -> str:
        self.reversed += 1
        return f'"{match[1][::-1]}"'


def prepare(source: str, check_time: Callable[[], None]) -> Prepared:
    """Source as the rows of a table can be looked for in it.

    Args: `check_time` raises when the time is over; it is asked between steps.
    """
    tricks = _Tricks(check_time)
    original = source[:TEXT_CHARACTERS_MAX].replace("\r", "")
    original = _STRING_OR_COMMENT.sub(_keep_string, _CONTINUED.sub(" ", original))
    check_time()
    plain = _ATTRIBUTE.sub("", original.lower())
    check_time()
    folded = _REVERSED.sub(tricks.turn, _CODE.sub(tricks.code, plain))
    check_time()
    folded, joins = _JOIN.subn("", folded)
    check_time()
    # What is hidden in base64 needs the case it was written in; characters given by number do not hide any.
    for match in _BASE64.finditer(_JOIN.sub("", original)):
        tricks.base64 += tricks.keep(_from_base64(match[1]))
    check_time()
    for match in _HEX.finditer(folded):
        tricks.hex += tricks.keep(_bytes_text(bytes.fromhex(match[1])))
    check_time()
    for match in _NUMBERS.finditer(folded):
        numbers = [_value(number) & 0xFF for number in _NUMBER.findall(match[1])]
        tricks.numbers += 1
        tricks.keep(_bytes_text(bytes(numbers)))
    decoded = tricks.hidden if folded == plain else f"{folded}\n{tricks.hidden}"
    return Prepared(plain, decoded, _named(tricks, joins), tricks.is_cut or len(source) > TEXT_CHARACTERS_MAX)


def comments(source: str) -> frozenset[str]:
    """The comments of a source, as they are compiled: without the mark they begin with."""
    joined = _CONTINUED.sub(" ", source.replace("\r", ""))
    return frozenset(match[0][1:].strip() for match in _STRING_OR_COMMENT.finditer(joined) if match[0][0] == "'")


def _named(tricks: _Tricks, joins: int) -> frozenset[str]:
    met = {
        "char-codes": tricks.codes >= MANY_CODES,
        "reversed-strings": tricks.reversed > 0,
        "split-strings": joins >= MANY_JOINS,
        "hex-strings": tricks.hex > 0,
        "base64-strings": tricks.base64 > 0,
        "number-arrays": tricks.numbers > 0,
    }
    return frozenset(name for name, is_met in met.items() if is_met)


def _keep_string(match: re.Match[str]) -> str:
    return match[1] or ""


def _value(written: str) -> int:
    return int(written[2:], 16) if written.startswith("&h") else int(written)


def _from_base64(text: str) -> str:
    try:
        return _bytes_text(base64.b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _bytes_text(content: bytes) -> str:
    """Text out of bytes: UTF-16 where every second one is zero, as PowerShell's commands are."""
    is_wide = len(content) > 3 and not any(content[1:32:2])
    return content.decode("utf-16-le" if is_wide else "latin-1", "replace")
