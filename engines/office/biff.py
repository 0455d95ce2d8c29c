"""Workbooks as records ([MS-XLS]): which sheets hold Excel 4 macros, what these say, DDE links, encryption."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engines.office import formula
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget

RECORDS_MAX: Final = 2_000_000
RECORDS_LIMIT: Final = "office.max_biff_records"
TEXT_CHARACTERS_MAX: Final = 1_000_000
FORMULA_BYTES_MAX: Final = 500_000
FORMULA_LIMIT: Final = "office.max_formula_bytes"
SHEETS_MAX: Final = 1024
SHEETS_LIMIT: Final = "office.max_sheets"
_BOF, _EOF = 0x0809, 0x000A
_STRING: Final = 0x0207
_BEFORE_FORMULA: Final = {0x0006: 20, 0x0221: 12, 0x04BC: 8}
"""What stands before the tokens of Formula, Array and ShrFmla ([MS-XLS] 2.4.127, 2.4.4, 2.4.260)."""
_FILEPASS, _NAME, _SHEET, _SUPBOOK = 0x002F, 0x0018, 0x0085, 0x01AE
_MACRO_SHEET: Final = 0x0040
"""The kind of a substream that holds macros ([MS-XLS] 2.4.21)."""
_AUTO_NAMES: Final = frozenset({1, 2})
"""Built-in names Auto_Open and Auto_Close ([MS-XLS] 2.4.150)."""


@dataclass(slots=True)
class Workbook:
    """What was found. `formulas` are of macro sheets, in readable form."""

    formulas: list[str] = field(default_factory=list)
    dde: list[str] = field(default_factory=list)
    has_macro_sheet: bool = False
    has_hidden_macro_sheet: bool = False
    starts_by_itself: bool = False
    is_encrypted: bool = False
    limit: str = ""


class _Records:
    """Records of one stream. State: `left` counts down over all that is read of it."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._left = RECORDS_MAX

    def substream(self, at: int) -> Iterator[tuple[int, bytes]]:
        """Kind and content from an offset to the end of that substream.

        Raises: LimitReached, DeadlineReached.
        """
        depth = 0
        data = self._data
        while at + 4 <= len(data):
            self._left -= 1
            if self._left < 0:
                raise LimitReached(RECORDS_LIMIT)
            if self._left % 4096 == 0:
                self._budget.check_time()
            kind, size_bytes = struct.unpack_from("<HH", data, at)
            yield kind, data[at + 4 : at + 4 + size_bytes]
            depth += (kind == _BOF) - (kind == _EOF)
            if kind == _EOF and depth <= 0:
                return
            at += 4 + size_bytes


def read_workbook(data: bytes, budget: Budget) -> Workbook:
    """What a workbook's stream says, up to its end, its damage or a limit. Raises: DeadlineReached."""
    found = Workbook()
    try:
        _read(data, found, _Records(data, budget))
    except LimitReached as reached:
        found.limit = reached.limit
    return found


def _read(data: bytes, found: Workbook, records: _Records) -> None:
    sheets: list[tuple[int, int, int]] = []
    named: list[str] = []
    for kind, content in records.substream(0):
        if kind == _FILEPASS:
            found.is_encrypted = True
            return
        if kind == _SHEET and len(content) >= 6:
            if len(sheets) >= SHEETS_MAX:
                raise LimitReached(SHEETS_LIMIT)
            place, state, sheet_kind = struct.unpack_from("<IBB", content)
            sheets.append((place, state & 3, sheet_kind))
        elif kind == _NAME:
            found.starts_by_itself |= _is_auto(content)
            named += _name_formula(content)
        elif kind == _SUPBOOK:
            found.dde += _dde(content)
    found.formulas += named
    found.has_macro_sheet = bool(named)
    for place, state, sheet_kind in dict.fromkeys(sheets):
        is_macro = data[place : place + 2] == b"\x09\x08" and data[place + 6 : place + 8] == b"\x40\x00"
        if not is_macro and sheet_kind != 1:
            continue
        found.has_macro_sheet = True
        found.has_hidden_macro_sheet |= state != 0
        _formulas(records.substream(place), found)


def _is_auto(content: bytes) -> bool:
    """A defined name that has a macro run: built in, or written out (LBL, [MS-XLS] 2.4.150)."""
    if len(content) < 15:
        return False
    flags, _, length = struct.unpack_from("<HBB", content)
    is_wide = content[14] & 1
    name = content[15 : 15 + length * (2 if is_wide else 1)]
    if flags & 0x20:
        return name[:1] != b"" and name[0] in _AUTO_NAMES
    return is_auto_name(name.decode("utf-16-le" if is_wide else "latin-1", "replace"))


def _name_formula(content: bytes) -> Iterator[str]:
    """What a name stands for, where that calls what only macros may."""
    if len(content) < 15:
        return
    length, size_bytes = struct.unpack_from("<BH", content, 3)
    at = 15 + length * (2 if content[14] & 1 else 1)
    tokens = content[at : at + size_bytes]
    if formula.may_call_macros(tokens):
        yield formula.text_of(tokens)


def is_auto_name(name: str) -> bool:
    """A name, written out, that has a macro run."""
    plain = name.lower().removeprefix("_xlnm.")
    return plain.startswith(("auto_open", "auto_close", "auto_activate", "auto_deactivate"))


def _dde(content: bytes) -> Iterator[str]:
    """A link whose path is a service and a topic ([MS-XLS] 2.4.271, 2.5.277): `\\x03` stands between them."""
    if len(content) < 6:
        return
    _, length, flags = struct.unpack_from("<HHB", content)
    path = content[5 : 5 + length * (2 if flags & 1 else 1)].decode(
        "utf-16-le" if flags & 1 else "latin-1", "replace"
    )
    if path.find("\x03") > 0 and not path.startswith("\x01"):
        yield path.replace("\x03", "|")


def _formulas(records: Iterator[tuple[int, bytes]], found: Workbook) -> None:
    left = TEXT_CHARACTERS_MAX
    left_bytes = FORMULA_BYTES_MAX
    for kind, content in records:
        text = ""
        at = _BEFORE_FORMULA.get(kind, len(content))
        if at + 2 <= len(content):
            (size_bytes,) = struct.unpack_from("<H", content, at)
            tokens = content[at + 2 : at + 2 + size_bytes]
            left_bytes -= len(tokens)
            if left_bytes < 0:
                raise LimitReached(FORMULA_LIMIT)
            text = formula.text_of(tokens)
        elif kind == _STRING and len(content) >= 3:
            length, flags = struct.unpack_from("<HB", content)
            text = content[3 : 3 + length * (flags + 1)].decode("utf-16-le" if flags & 1 else "latin-1", "replace")
        left -= len(text)
        if left < 0:
            raise LimitReached(FORMULA_LIMIT)
        if text:
            found.formulas.append(text)
