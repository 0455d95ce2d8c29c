"""Macros in arrays, in formulas of many cells and behind names; parts in which nothing is looked for."""

from __future__ import annotations

import struct
import time

import pytest

from engines.office import OfficeOptions
from engines.office.unpacker import OfficeUnpacker
from icapd.scan.model import Budget, Sample, Verdict
from tests.engines.document_probe import names, scan
from tests.engines.test_office_parts import EXEC, W, X, cell, package, record, workbook


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


def test_parts_that_hold_nothing_are_not_searched() -> None:
    office = OfficeUnpacker(OfficeOptions())
    head = f'\ufeff<?xml version="1.0" encoding="UTF-8"?>\r\n<?mso x?><w:styles xmlns:w="{W}">'
    field = f"<w:fldSimple w:instr='DDE{'AUTO'} a b'/>"
    large = f"{head}{'<w:style/>' * 100_000}{field}</w:styles>".encode()
    sample = Sample(large, trail=("word/styles.xml",), name="word/styles.xml")
    started = time.process_time()
    for _ in range(100):
        assert office.opens(sample)
        assert list(office.unpack(sample, Budget(time.monotonic() + 20))) == []
    assert (time.process_time() - started) / 100 < 0.001
    assert "ole:dde" in names(scan(package("word/styles.xml", large.replace(b"styles", b"document"))))


@pytest.mark.parametrize("before", ["<!-- styles -->", "<!DOCTYPE styles>", "<?a ?><!---->"])
def test_what_stands_before_the_root_is_not_taken_for_it(before: str) -> None:
    part = f"{before}<a:document xmlns:a=\"{W}\"><a:fldSimple a:instr='DDE{'AUTO'} a b'/></a:document>"
    assert names(scan(package("word/styles.xml", part))) & {"ole:dde", "ooxml:doctype"}
