"""Parts of XLSB packages as records ([MS-XLSB] 2.1.4): formulas of macro sheets, names that start macros, DDE links.

A part does not say whether its sheet holds macros; its name may, and its formulas do. Of other sheets only formulas
are read in which a function seems to be called that macros alone have.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from engines.office import biff, findings, formula, xlm
from engines.office.biff import Workbook
from engines.office.limits import OfficeOptions
from engines.office.tables import COMBINATIONS
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import add_up
from icapd.scan.model import Budget, Finding, Sample

STARTS: Final = (b"\x81\x01\x00", b"\x83\x01\x00", b"\xe8\x02")
"""How parts begin: BrtBeginSheet, BrtBeginBook, BrtBeginSupBook."""
_NAME, _SUPBOOK = 39, 360
_BEFORE_SHARED: Final = {426: 17, 427: 16}
"""What stands before the formula of an array and of many cells: BrtArrFmla, BrtShrFmla."""
_BEFORE_FORMULA: Final = {9: 8, 10: 1, 11: 1}
"""How long the value of a cell with a formula is, by record: BrtFmlaNum, BrtFmlaBool, BrtFmlaError."""
_TEXT_CELL: Final = 8
_CELL_BYTES: Final = 8
_NAME_AT: Final = 9
_DDE_LINK: Final = 1


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """The findings about a part, then its macros as a sample.

    Raises: LimitReached, DeadlineReached.
    """
    data = bytes(sample.data)
    found = Workbook()
    is_macro_sheet = "macrosheet" in sample.name.lower()
    try:
        if not data.startswith(STARTS[0]) or is_macro_sheet or formula.may_call_macros(data):
            _read(data, found, budget, takes_all=is_macro_sheet)
    except LimitReached as reached:
        found.limit = reached.limit
    found.has_macro_sheet = is_macro_sheet or bool(found.formulas)
    signs = list(xlm.workbook_signs(found, budget))
    yield from add_up(findings.ENGINE, signs, COMBINATIONS, options.thresholds, sample.trail)
    if found.formulas:
        budget.take_member()
        yield sample.member("\n".join(found.formulas).encode("utf-8", "replace"), "XLM")
    if found.limit:
        yield findings.limit(found.limit, sample.trail)


def _read(data: bytes, found: Workbook, budget: Budget, *, takes_all: bool) -> None:
    left = biff.FORMULA_BYTES_MAX
    for kind, content in _records(data, budget):
        tokens = _formula(kind, content)
        if tokens and ((takes_all and kind != _NAME) or formula.may_call_macros(tokens)):
            left -= len(tokens)
            if left < 0:
                raise LimitReached(biff.FORMULA_LIMIT)
            found.formulas.append(formula.text_of(tokens, formula.BIFF12))
        if kind == _NAME:
            found.starts_by_itself |= biff.is_auto_name(_text(content, _NAME_AT)[0])
        elif kind == _SUPBOOK and content[:2] == _DDE_LINK.to_bytes(2, "little"):
            service, at = _text(content, 2)
            found.dde.append(f"{service}|{_text(content, at)[0]}")


def _records(data: bytes, budget: Budget) -> Iterator[tuple[int, bytes]]:
    """Kind and content: numbers of seven bits a byte come before it. Raises: LimitReached, DeadlineReached."""
    at, left = 0, biff.RECORDS_MAX
    while at + 2 <= len(data):
        left -= 1
        if left < 0:
            raise LimitReached(biff.RECORDS_LIMIT)
        if left % 4096 == 0:
            budget.check_time()
        kind = data[at]
        at += 1
        if kind & 0x80:
            kind = kind & 0x7F | (data[at] & 0x7F) << 7
            at += 1
        size_bytes = shift = 0
        while at < len(data) and shift < 28:
            byte = data[at]
            at += 1
            size_bytes |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        yield kind, data[at : at + size_bytes]
        at += size_bytes


def _formula(kind: int, content: bytes) -> bytes:
    """The tokens of a cell's formula, of many cells' or of a name's, or nothing."""
    if kind == _TEXT_CELL:
        at = _text(content, _CELL_BYTES)[1] + 2
    elif kind in _BEFORE_FORMULA:
        at = _CELL_BYTES + _BEFORE_FORMULA[kind] + 2
    elif kind == _NAME:
        at = _text(content, _NAME_AT)[1]
    elif kind in _BEFORE_SHARED:
        at = _BEFORE_SHARED[kind]
    else:
        return b""
    if at + 4 > len(content):
        return b""
    (size_bytes,) = struct.unpack_from("<I", content, at)
    return content[at + 4 : at + 4 + size_bytes]


def _text(content: bytes, at: int) -> tuple[str, int]:
    """An XLWideString of [MS-XLSB], and where it ends."""
    if at + 4 > len(content):
        return "", len(content)
    (length,) = struct.unpack_from("<I", content, at)
    end = min(at + 4 + 2 * length, len(content))
    return content[at + 4 : end].decode("utf-16-le", "replace"), end
