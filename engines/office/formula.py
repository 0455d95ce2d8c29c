"""Formulas of cells ([MS-XLS] 2.5.198, [MS-XLSB] 2.5.98) as text: tokens in Polish order become calls for people.

Only names that tell something are known; others are their numbers. Strings that are joined are shown joined.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_STACK_MAX: Final = 512
_TEXT_MAX: Final = 8192

_FUNCTIONS: Final[dict[int, str]] = {
    0x0001: "IF", 0x001F: "MID", 0x0035: "GOTO", 0x0036: "HALT", 0x0037: "RETURN", 0x0058: "SET.NAME",
    0x006C: "SET.VALUE", 0x006E: "EXEC", 0x006F: "CHAR", 0x0073: "LEFT", 0x0074: "RIGHT", 0x0078: "SUBSTITUTE",
    0x007B: "DIRECTORY", 0x0084: "FOPEN", 0x0085: "FCLOSE", 0x0089: "FWRITELN", 0x008A: "FWRITE",
    0x0094: "INDIRECT", 0x0095: "REGISTER", 0x0096: "CALL", 0x00A6: "FILES", 0x00AB: "FOR", 0x00AC: "WHILE",
    0x00AE: "NEXT", 0x00AF: "INITIATE", 0x00B1: "POKE", 0x00B2: "EXECUTE", 0x00B9: "GET.CELL",
    0x00BA: "GET.WORKSPACE", 0x00BB: "GET.WINDOW", 0x00BC: "GET.DOCUMENT", 0x0101: "EVALUATE",
    0x010B: "REGISTER.ID", 0x010C: "GET.WORKBOOK", 0x0150: "CONCATENATE", 0x8006: "FILE.DELETE", 0x8011: "RUN",
    0x8060: "FORMULA",
}  # fmt: skip
"""By number; with the highest bit set, commands (Cetab) instead of functions (Ftab)."""
_ARGUMENTS: Final = {
    0x006E: 1,
    0x006F: 1,
    0x0036: 0,
    0x0085: 1,
    0x0089: 2,
    0x008A: 2,
    0x00B2: 2,
    0x00BA: 1,
    0x0101: 1,
}
"""How many a function of fixed length takes; others are taken for one."""
_SIZES: Final = {
    0x01: 4, 0x02: 4, 0x18: 5, 0x1C: 1, 0x1D: 1, 0x20: 7, 0x23: 4, 0x24: 4, 0x25: 8, 0x26: 6, 0x27: 6, 0x28: 6,
    0x29: 2, 0x2A: 4, 0x2B: 8, 0x2C: 4, 0x2D: 8, 0x39: 6, 0x3A: 6, 0x3B: 10, 0x3C: 6, 0x3D: 10,
}  # fmt: skip
"""How many bytes follow a token that we show as a place, in BIFF8."""
_SIZES_12: Final = {
    0x01: 4, 0x02: 4, 0x18: 5, 0x1C: 1, 0x1D: 1, 0x20: 14, 0x23: 4, 0x24: 6, 0x25: 12, 0x26: 6, 0x27: 6, 0x28: 6,
    0x29: 2, 0x2A: 6, 0x2B: 12, 0x2C: 6, 0x2D: 12, 0x39: 6, 0x3A: 8, 0x3B: 14, 0x3C: 8, 0x3D: 14,
}  # fmt: skip
"""The same in BIFF12."""
_OPERATORS: Final = {
    0x03: "+", 0x04: "-", 0x05: "*", 0x06: "/", 0x07: "^", 0x08: "&", 0x09: "<", 0x0A: "<=", 0x0B: "=", 0x0C: ">=",
    0x0D: ">", 0x0E: "<>", 0x0F: " ", 0x10: ",", 0x11: ":",
}  # fmt: skip
_MACRO_CALL = re.compile(
    rb"[\x21\x41\x61](?:\x6e|\xb2|\x89|\x8a)\0|[\x22\x42\x62].(?:[\x84\x95\x96]\0|\x0b\x01|[\x06\x11\x60]\x80)",
    re.DOTALL,
)
"""EXEC, EXECUTE, FWRITELN, FWRITE; FOPEN, REGISTER, CALL, REGISTER.ID, FILE.DELETE, RUN, FORMULA."""
_MACRO_CALL_WRITTEN = re.compile(
    r"\b(?:exec|execute|fwrite|fwriteln|fopen|register|call|register\.id|file\.delete|run|formula)[ \t]{0,8}\(",
    re.IGNORECASE,
)
_CHAR = re.compile(r"CHAR\((\d{1,3})(?:\.0)?\)")


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the formats: how long places are, and whether texts are counted by two bytes."""

    sizes: Mapping[int, int]
    has_wide_texts: bool


BIFF8: Final = Layout(_SIZES, has_wide_texts=False)
BIFF12: Final = Layout(_SIZES_12, has_wide_texts=True)


def may_call_macros(tokens: bytes) -> bool:
    """Whether functions that only macros have seem to be called in these bytes: some of one formula, or of many."""
    return _MACRO_CALL.search(tokens) is not None


def calls_macros(text: str) -> bool:
    """The same of a formula that is written out."""
    return _MACRO_CALL_WRITTEN.search(text) is not None


class _Stack:
    """What was read and not yet used. State: grows and shrinks; an empty one gives "?"."""

    def __init__(self) -> None:
        self._items: list[str] = []

    def push(self, text: str) -> None:
        if len(self._items) < _STACK_MAX:
            self._items.append(text[:_TEXT_MAX])

    def pop(self) -> str:
        return self._items.pop() if self._items else "?"

    def call(self, number: int, count: int) -> None:
        arguments = [self.pop() for _ in range(min(count, 32))][::-1]
        name = _FUNCTIONS.get(number, f"F{number:X}")
        self.push(f"{name}({','.join(arguments)})")

    def join(self, operator: str) -> None:
        right, left = self.pop(), self.pop()
        if len(left) >= _TEXT_MAX:  # growing by one operator at a time would copy it as often
            self.push(left)
            return
        if operator == "&":
            left, right = _folded(left), _folded(right)
            if left.endswith('"') and right.startswith('"'):
                self.push(left[:-1] + right[1:])
                return
        self.push(f"{left}{operator}{right}")

    def rest(self) -> str:
        return " ".join(self._items)


def _folded(text: str) -> str:
    match = _CHAR.fullmatch(text)
    return f'"{chr(int(match[1]) & 0xFF)}"' if match else text


def text_of(tokens: bytes, layout: Layout = BIFF8) -> str:
    """A formula as text; what cannot be read ends it."""
    stack = _Stack()
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        kind = token if token < 0x20 else (token & 0x1F) | 0x20
        try:
            size = _step(kind, tokens, at, stack, layout)
        except (struct.error, IndexError):
            break
        if size < 0:
            break
        at += size
    return f"={stack.rest()}"[:_TEXT_MAX]


def _step(kind: int, tokens: bytes, at: int, stack: _Stack, layout: Layout) -> int:
    """Does one token; returns how many bytes it has behind its own, -1 for one nobody knows."""
    if kind in _OPERATORS:
        stack.join(_OPERATORS[kind])
        return 0
    if kind in (0x12, 0x13, 0x14, 0x15):
        return 0
    if kind == 0x16:
        stack.push("")
        return 0
    if kind == 0x17:
        is_wide = layout.has_wide_texts or bool(tokens[at + 1] & 1)
        length = struct.unpack_from("<H", tokens, at)[0] if layout.has_wide_texts else tokens[at]
        size = length * (2 if is_wide else 1)
        raw = tokens[at + 2 : at + 2 + size]
        stack.push(f'"{raw.decode("utf-16-le" if is_wide else "latin-1", "replace")}"')
        return 2 + size
    if kind == 0x19:
        choices = struct.unpack_from("<H", tokens, at + 1)[0]
        return 3 + (2 * (choices + 1) if tokens[at] & 0x04 else 0)
    if kind == 0x1E:
        stack.push(str(struct.unpack_from("<H", tokens, at)[0]))
        return 2
    if kind == 0x1F:
        stack.push(f"{struct.unpack_from('<d', tokens, at)[0]:g}")
        return 8
    if kind == 0x21:
        number = struct.unpack_from("<H", tokens, at)[0]
        stack.call(number, _ARGUMENTS.get(number, 1))
        return 2
    if kind == 0x22:
        count, number = struct.unpack_from("<BH", tokens, at)
        stack.call(number, count & 0x7F)
        return 3
    if kind in layout.sizes:
        stack.push("REF")
        return layout.sizes[kind]
    return -1
