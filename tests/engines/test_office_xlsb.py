"""Binary parts of XLSB packages: macros in formulas, names that start them, DDE; ordinary sheets cost a search."""

from __future__ import annotations

import struct
import time

import pytest

from engines.office import biff, formula
from icapd.scan.model import FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.samples import zip_of

Part = tuple[str, bytes]


def record(kind: int, content: bytes = b"") -> bytes:
    head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size, count = b"", len(content)
    while count > 127:
        size += bytes([count & 0x7F | 0x80])
        count >>= 7
    return head + size + bytes([count]) + content


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def text_token(text: str) -> bytes:
    return b"\x17" + struct.pack("<H", len(text)) + text.encode("utf-16-le")


def cell(tokens: bytes, kind: int = 9, value: bytes = bytes(8)) -> bytes:
    return record(kind, bytes(8) + value + b"\0\0" + struct.pack("<I", len(tokens)) + tokens + bytes(4))


def sheet(*cells: bytes) -> bytes:
    return record(129) + record(147, bytes(19)) + record(145) + b"".join(cells) + record(146) + record(130)


def package(name: str, part: bytes) -> bytes:
    return zip_of({"[Content_Types].xml": b"<Types/>", name: part})


COMMAND = text_token("cm") + text_token("d.exe /c dir") + b"\x08"
EXEC = COMMAND + b"\x41\x6e\x00"
CALL = text_token("urlmon") + text_token("URLDownload" + "ToFileA") + b"\x42\x02\x96\x00"
PLACE = b"\x44" + bytes(6) + b"\x45" + bytes(12) + b"\x5a" + bytes(8) + b"\x5b" + bytes(14) + b"\x40" + bytes(14)
SUM = b"\x25" + bytes(12) + b"\x22\x01\x04\x00"

MALICIOUS = {
    "a number": cell(EXEC),
    "a text": cell(EXEC, 8, wide("soup")),
    "a truth": cell(EXEC, 10, b"\1"),
    "an error": cell(EXEC, 11, b"\7"),
    "behind places": cell(PLACE + EXEC),
    "behind names": cell(b"\x43" + bytes(4) + b"\x59" + bytes(6) + EXEC),
    "a library": cell(CALL),
    "an array": cell(b"\x01" + bytes(4)) + record(426, bytes(17) + struct.pack("<I", len(EXEC)) + EXEC),
    "many cells": cell(b"\x01" + bytes(4)) + record(427, bytes(16) + struct.pack("<I", len(EXEC)) + EXEC),
    "among many": cell(SUM) * 2000 + cell(EXEC),
}


@pytest.mark.parametrize("name", ["xl/macrosheets/sheet1.bin", "xl/worksheets/sheet1.bin", "xl/soup.dat"])
@pytest.mark.parametrize("case", MALICIOUS)
def test_macros_that_start_programs_are_malicious(case: str, name: str) -> None:
    report = scan(package(name, sheet(MALICIOUS[case])))
    assert report.verdict is Verdict.MALICIOUS
    assert names(report) >= {"xlm:macro-sheet", "xlm:runs-program"}


def test_macros_are_a_member() -> None:
    found = members(package("xl/macrosheets/sheet1.bin", sheet(cell(EXEC), cell(SUM))))
    assert found[("xl/macrosheets/sheet1.bin", "XLM")] == b'=EXEC("' + b"cm" + b'd.exe /c dir")\n=F4(REF)'


def test_ordinary_parts_are_clean() -> None:
    calls = struct.pack("<d", 1.5) + b"\x21\x6e\x00"  # what looks like a call is a number
    report = scan(package("xl/worksheets/sheet1.bin", sheet(cell(SUM), record(5, bytes(8) + calls))))
    assert (report.verdict, names(report)) == (Verdict.CLEAN, set())
    assert names(scan(package("xl/workbook.bin", record(131) + name("Prices") + record(132)))) == set()
    assert names(scan(package("xl/macrosheets/sheet1.bin", sheet()))) == {"xlm:macro-sheet"}


def name(text: str) -> bytes:
    return record(39, bytes(9) + wide(text) + bytes(8))


@pytest.mark.parametrize("text", ["_xlnm.Auto_Open", "auto_close2"])
def test_names_that_start_macros_are_recorded(text: str) -> None:
    report = scan(package("xl/workbook.bin", record(131) + name(text) + record(132)))
    assert (report.verdict, names(report)) == (Verdict.CLEAN, {"xlm:auto-open"})


def test_a_name_that_stands_for_a_macro_is_malicious() -> None:
    entry = record(39, bytes(9) + wide("a") + struct.pack("<I", len(EXEC)) + EXEC)
    assert scan(package("xl/workbook.bin", record(131) + entry + record(132))).verdict is Verdict.MALICIOUS


def test_a_dde_link_with_a_command_is_malicious() -> None:
    link = record(360, struct.pack("<H", 1) + wide("cm" + "d") + wide("/c dir"))
    assert telling(scan(package("xl/externalLinks/externalLink1.bin", link))) == {
        (FindingKind.MALWARE, "ole:dde-command")
    }
    book = record(360, struct.pack("<H", 0) + wide("rId1") + wide(""))
    assert names(scan(package("xl/externalLinks/externalLink1.bin", book))) == set()


def test_formulas_and_records_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = package("xl/macrosheets/sheet1.bin", sheet(cell(EXEC)))
    monkeypatch.setattr(biff, "FORMULA_BYTES_MAX", len(EXEC))
    assert biff.FORMULA_LIMIT not in names(scan(data))
    monkeypatch.setattr(biff, "FORMULA_BYTES_MAX", len(EXEC) - 1)
    assert biff.FORMULA_LIMIT in names(scan(data))
    monkeypatch.undo()
    monkeypatch.setattr(biff, "RECORDS_MAX", 6)
    assert biff.RECORDS_LIMIT not in names(scan(data))
    monkeypatch.setattr(biff, "RECORDS_MAX", 5)
    assert biff.RECORDS_LIMIT in names(scan(data))


BOMBS = {
    "empty records": sheet(record(1) * 1_000_000 + cell(EXEC)),
    "calls": sheet(cell(EXEC) * 20_000),
    "joins": sheet(cell(text_token("a" * 8000) + b"\x08" * 60_000 + b"\x41\x6e\x00")),
    "sizes that lie": b"\x81\x01\x00" + b"\x09\xff\xff\xff\x7f" * 200_000 + b"\x41\x6e\x00",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_soon(bomb: str) -> None:
    data = package("xl/macrosheets/sheet1.bin", BOMBS[bomb])
    started = time.process_time()
    report = scan(data)
    assert time.process_time() - started < 2
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


def test_what_is_cut_short_or_damaged_never_fails() -> None:
    whole = sheet(cell(PLACE + EXEC), cell(CALL, 8, wide("soup")))
    for at in range(len(whole)):
        for part in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            report = scan(package("xl/macrosheets/sheet1.bin", part))
            assert not any(finding.kind is FindingKind.FAILED for finding in report.findings), at


def test_formulas_become_text() -> None:
    assert formula.text_of(PLACE + text_token("a"), formula.BIFF12) == '=REF REF REF REF REF "a"'
    assert formula.text_of(b"\x17", formula.BIFF12) == "="
