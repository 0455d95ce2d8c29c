"""All tables of the office engine, in the order in which they are documented."""

from __future__ import annotations

from typing import Final

from engines.office import ole_table, rtf_table, vba_table, xlm_table
from icapd.scan.indicators import Combination, Indicator

TABLES: Final[dict[str, tuple[Indicator, ...]]] = {
    "Visual Basic": vba_table.ALL,
    "Objects, packages and DDE": ole_table.ALL,
    "Excel 4 macros": xlm_table.ALL,
    "Parts of OOXML packages": xlm_table.OOXML,
    "RTF": rtf_table.ALL,
}
COMBINATIONS: Final[tuple[Combination, ...]] = (
    *vba_table.COMBINATIONS,
    *ole_table.COMBINATIONS,
    *xlm_table.COMBINATIONS,
)
