"""What Excel 4 macros amount to, from whichever file format their formulas came."""

from __future__ import annotations

from collections.abc import Iterator

from engines.office import embedded, xlm_table
from engines.office.biff import Workbook
from icapd.scan.indicators import Indicator, seen_in
from icapd.scan.model import Budget

_MANY_CODES = 8


def workbook_signs(workbook: Workbook, budget: Budget) -> Iterator[Indicator]:
    for link in workbook.dde:
        yield from embedded.dde_signs(link.encode("utf-8", "replace"))
    if workbook.starts_by_itself:
        yield xlm_table.AUTO_OPEN
    if not workbook.has_macro_sheet:
        return
    yield xlm_table.MACRO_SHEET
    if workbook.has_hidden_macro_sheet:
        yield xlm_table.HIDDEN_SHEET
    yield from formula_signs("\n".join(workbook.formulas), budget)


def formula_signs(text: str, budget: Budget) -> Iterator[Indicator]:
    lower = text.lower()
    if lower.count("char(") >= _MANY_CODES:
        yield xlm_table.CHAR_CODES
    yield from seen_in(lower, xlm_table.ROWS, budget.check_time)
