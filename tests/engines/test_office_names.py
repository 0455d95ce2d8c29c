"""Macros in arrays, shared formulas and names; parts that are skipped, and parts disguised as those."""

from __future__ import annotations

import struct
import time

import pytest

from engines.office import OfficeOptions
from engines.office.unpacker import OfficeUnpacker
from icapd.scan.model import Budget, Sample, Verdict
from tests.engines.document_probe import names, scan
from tests.engines.test_office_parts import EXEC, W, X, cell, package, record, relations, workbook


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


TEMPLATE = relations(("attachedTemplate", "http://example.test/a.dotm"))
DISGUISED = TEMPLATE.replace("openxmlformats.o", "openxmlformats.&#111;")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("place", ["word/_rels/settings.xml.rels", "word/part.xml"])
def test_characters_that_become_marks_without_their_zeros_are_no_root(codec: str, place: str) -> None:
    marks = "".join(chr(ord(char) << 8) for char in "?><")
    declared = f'\ufeff<?xml version="1.0" encoding="UTF-16"?><?a {marks}styles ?>'
    part = TEMPLATE.replace('<?xml version="1.0"?>', declared)
    assert "ooxml:remote-template" in names(scan(package(place, part.encode(codec))))


@pytest.mark.parametrize("encoding", ["UTF-16", "made-up", "ISO-8859-1"])
def test_a_root_in_another_encoding_is_not_told_from_bytes(encoding: str) -> None:
    part = f'<?xml version="1.0" encoding="{encoding}"?><styles><fldSimple instr="DDEAUTO a b"/></styles>'
    assert names(scan(package("word/document.xml", part))) & {"ole:dde", "corrupt:xml"}


def test_relations_are_read_whatever_their_root_is_called() -> None:
    part = TEMPLATE.replace("Relationships", "styles")
    assert "ooxml:remote-template" in names(scan(package("word/_rels/settings.xml.rels", part)))


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_blanks_before_a_part_do_not_hide_it(codec: str) -> None:
    part = " \t\r\n" * 2000 + TEMPLATE.replace('<?xml version="1.0"?>', "")
    content = (part if codec == "utf-8" else f"\ufeff{part}").encode(codec)
    assert "ooxml:remote-template" in names(scan(package("word/_rels/settings.xml.rels", content)))


def test_many_blanks_cost_little() -> None:
    office = OfficeUnpacker(OfficeOptions())
    sample = Sample(b" " * 4_000_000, trail=("a.xml",), name="a.xml")
    started = time.process_time()
    assert not office.opens(sample)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("place", ["word/_rels/settings.xml.rels", "word/part.xml"])
def test_damage_is_told_where_the_namespace_is_disguised(place: str) -> None:
    unknown = DISGUISED.replace('"1.0"', '"1.0" encoding="made-up"')
    assert "corrupt:xml" in names(scan(package(place, unknown)))
    typed = DISGUISED.replace("?>", "?><!DOCTYPE a>", 1)
    assert "ooxml:doctype" in names(scan(package(place, typed)))


@pytest.mark.parametrize("name", ["instrText", "fldSimple", "ddeLink", "macrosheet", "binData", "definedName"])
def test_damage_is_told_in_parts_with_names_of_office_alone(name: str) -> None:
    assert "corrupt:xml" in names(scan(package("word/document.xml", f"<a><{name}>")))
