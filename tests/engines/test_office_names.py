"""Macros of workbooks that stand in no cell of their own: in arrays, in formulas of many cells, behind names."""

from __future__ import annotations

import struct

import pytest

from icapd.scan.model import Verdict
from tests.engines.document_probe import names, scan
from tests.engines.test_office_parts import EXEC, X, cell, package, record, workbook


@pytest.mark.parametrize(("kind", "before"), [(0x0221, 12), (0x04BC, 8)])
def test_formulas_of_many_cells_are_read(kind: int, before: int) -> None:
    shared = record(kind, bytes(before) + struct.pack("<H", len(EXEC)) + EXEC)
    assert {"xlm:exec", "xlm:runs-program"} <= names(scan(workbook(cell(b"\x01" + bytes(4)) + shared)))


def test_formulas_of_names_are_read() -> None:
    named = record(0x0018, struct.pack("<HBBHHHI", 0, 0, 1, len(EXEC), 0, 0, 0) + b"\x00a" + EXEC)
    assert {"xlm:exec", "xlm:runs-program"} <= names(scan(workbook(b"", named, kind=0)))
    harmless = record(0x0018, struct.pack("<HBBHHHI", 0, 0, 1, 3, 0, 0, 0) + b"\x00a" + b"\x1e\x05\x00")
    assert names(scan(workbook(b"", harmless, kind=0))) == set()


def named(text: str) -> bytes:
    head = f'<?xml version="1.0"?><workbook xmlns="{X}"><definedNames><definedName name="a">'
    return package("xl/workbook.xml", f"{head}{text}</definedName></definedNames></workbook>")


def test_formulas_of_names_in_packages_are_read() -> None:
    assert scan(named('EXEC("calc")')).verdict is Verdict.MALICIOUS
    for text in ("Sheet1!$A$1", "EVALUATE(Sheet1!$A$1)", "GET.CELL(38,Sheet1!$A$1)"):
        assert names(scan(named(text))) == set()
