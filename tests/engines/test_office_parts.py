"""Parts of OOXML packages and workbooks: relations, DDE, Excel 4 macros, controls, files inside XML."""

from __future__ import annotations

import base64
import struct
import time
import zlib

import pytest

from engines.office import biff, formula, ooxml
from icapd.scan.model import Budget, FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_writing import compound, vba_project
from tests.engines.samples import DOCX, ODT, XLSX, zip_of
from tests.support.pace import is_within

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MACROS = vba_project(M='Sub AutoOpen()\n Shell "calc"\nEnd Sub')


def package(name: str, part: str | bytes) -> bytes:
    content = part if isinstance(part, bytes) else part.encode()
    return zip_of({"[Content_Types].xml": b"<Types/>", name: content})


def relations(*rows: tuple[str, str]) -> str:
    items = "".join(
        f'<Relationship Id="rId{number}" Type="{TYPES}/{kind}" Target="{target}" TargetMode="External"/>'
        for number, (kind, target) in enumerate(rows)
    )
    return (
        '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f"{items}</Relationships>"
    )


def word(body: str) -> bytes:
    text = f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body><w:p>{body}</w:p></w:body></w:document>'
    return package("word/document.xml", text)


def field(*pieces: str) -> bytes:
    runs = "".join(f"<w:r><w:instrText>{piece}</w:instrText></w:r>" for piece in pieces)
    return word(f'<w:r><w:fldChar w:fldCharType="begin"/></w:r>{runs}<w:r><w:fldChar w:fldCharType="end"/></w:r>')


def relation(kind: str, target: str) -> bytes:
    return package("word/_rels/settings.xml.rels", relations((kind, target)))


ORDINARY = {
    "a document": (DOCX, set()),
    "a workbook": (XLSX, set()),
    "OpenDocument": (ODT, set()),
    "links": (relation("hyperlink", "http://example.test/"), set()),
    "a picture from elsewhere": (relation("image", "https://example.test/a.png"), {"ooxml:remote-picture"}),
    "a template on this machine": (relation("attachedTemplate", "file:///C:/Templates/a.dotm"), set()),
    "a date": (field("DATE"), set()),
    "a word that begins alike": (field("REF DDEXYZ"), set()),
    "a link to another workbook": (relation("externalLinkPath", "other.xlsx"), set()),
    "XML of others that declares a type": (
        zip_of({"web.xml": b'<?xml version="1.0"?><!DOCTYPE web-app><web-app/>'}),
        set(),
    ),
    "XML of others that breaks off": (zip_of({"model.xml": b'<?xml version="1.0"?><Relationship>'}), set()),
    "text about it": (word("<w:t>DDEAUTO cmd instrText</w:t>"), set()),
    "a control": (
        package(
            "word/activeX/activeX1.xml",
            '<?xml version="1.0"?><ax:ocx ax:classid="{8BD21D40-EC42-11CE-9E0D-00AA006002F3}"'
            ' xmlns:ax="http://schemas.microsoft.com/office/2006/activeX"/>',
        ),
        {"ole:activex"},
    ),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_documents_are_clean_and_recorded(case: str) -> None:
    data, expected = ORDINARY[case]
    report = scan(data)
    assert (report.verdict, names(report)) == (Verdict.CLEAN, expected)


COMMAND = "c:\\windows\\system32\\" + "cm" + 'd.exe "/k dir"'
FOUND = {
    "a template": (relation("attachedTemplate", "http://example.test/a.dotm"), "ooxml:remote-template"),
    "a template in entities": (
        relation("attachedTemplate", "&#x68;ttp://example.test/a.dotm"),
        "ooxml:remote-template",
    ),
    "a template behind a long comment": (
        package(
            "word/_rels/settings.xml.rels",
            f"<!--{'x' * 70_000}-->"
            + relations(("attachedTemplate", "http://example.test/")).replace('<?xml version="1.0"?>', ""),
        ),
        "ooxml:remote-template",
    ),
    "a template on a share, in MHTML": (
        relation("attachedTemplate", "mhtml:\\\\192.0.2.1\\a"),
        "ooxml:remote-template",
    ),
    "a template behind a tabulator": (
        package(
            "word/_rels/settings.xml.rels",
            relations(("attachedTemplate", "http://example.test/")).replace("<Relationship Id", "<Relationship\tId"),
        ),
        "ooxml:remote-template",
    ),
    "a template under a namespace in references": (
        package(
            "word/_rels/settings.xml.rels",
            relations(("attachedTemplate", "http://example.test/")).replace("openxmlformats", "openxml&#102;ormats"),
        ),
        "ooxml:remote-template",
    ),
    "a template on a share": (relation("attachedTemplate", "\\\\192.0.2.1\\a.dotm"), "ooxml:remote-template"),
    "an object": (relation("oleObject", "http://example.test/a.html"), "ooxml:remote-object"),
    "a frame": (relation("frame", "http://example.test/a.html"), "ooxml:remote-object"),
    "a share": (relation("image", "file://192.0.2.1/a.png"), "ooxml:remote-share"),
    "a link that acts": (relation("hyperlink", "ms-" + "msdt:/id PCWDiagnostic"), "ooxml:dangerous-link"),
    "UTF-16": (
        package(
            "word/_rels/settings.xml.rels",
            relations(("attachedTemplate", "http://example.test/")).replace('"1.0"', '"1.0" encoding="UTF-16"')
            .encode("utf-16"),
        ),
        "ooxml:remote-template",
    ),
    "DDE": (field('DDE excel "a" "b"'), "ole:dde"),
    "a flash control": (
        package(
            "word/activeX/activeX1.xml",
            '<?xml version="1.0"?><ax:ocx ax:classid="{D27CDB6E-AE6D-11CF-96B8-444553540000}"'
            ' xmlns:ax="http://schemas.microsoft.com/office/2006/activeX"/>',
        ),
        "ole:flash",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_what_is_unusual_is_suspicious(case: str) -> None:
    data, name = FOUND[case]
    assert telling(scan(data)) == {(FindingKind.SUSPICIOUS, name)}


X = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
XM = "http://schemas.microsoft.com/office/excel/2006/main"


def macro_sheet(*formulas: str) -> bytes:
    cells = "".join(f'<c r="A1"><f>{text}</f></c>' for text in formulas)
    head = f'<?xml version="1.0"?><xm:macrosheet xmlns:xm="{XM}" xmlns="{X}">'
    sheet = f"{head}<sheetData>{cells}</sheetData></xm:macrosheet>"
    return package("xl/macrosheets/sheet1.xml", sheet)


FLAT = (
    '<?xml version="1.0"?><pkg:package xmlns:pkg="http://schemas.microsoft.com/office/2006/xmlPackage"><pkg:part'
    f' pkg:name="/word/vba.bin"><pkg:binaryData>{base64.b64encode(MACROS).decode()}</pkg:binaryData></pkg:part>'
    "</pkg:package>"
)
ACTIVE_MIME = b"ActiveMime" + bytes(40) + zlib.compress(MACROS)
WORD_2003 = (
    '<?xml version="1.0"?><w:wordDocument xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml"><w:docSuppData>'
    f'<w:binData w:name="editdata.mso">{base64.b64encode(ACTIVE_MIME).decode()}</w:binData></w:docSuppData>'
    "</w:wordDocument>"
)
MALICIOUS = {
    "DDE with a command": field("DDE" + f"AUTO {COMMAND}"),
    "DDE in pieces": field("D", "DE", "AU" + f"TO {COMMAND}"),
    "DDE in an attribute": word(f"<w:fldSimple w:instr='DDE {COMMAND}'/>"),
    "a DDE link": package(
        "xl/externalLinks/externalLink1.xml",
        f'<?xml version="1.0"?><externalLink xmlns="{X}"><ddeLink ddeService="cm'
        'd" ddeTopic="/c dir"/></externalLink>',
    ),
    "an object that opens a browser": relation(
        "oleObject", "mhtml:http://example.test/a.html!x-usc:http://example.test"
    ),
    "an object that is a page": relation("oleObject", "http://example.test/a.html!"),
    "a macro sheet that starts programs": macro_sheet('EXEC("calc")', "HALT()"),
    "a macro sheet that calls libraries": macro_sheet('CALL("Kernel32","WinExec","JCJ","calc",0)'),
    "a command in numbers": word(
        "<w:fldSimple w:instr='DDE" + "AUTO x'/>"
        f"<w:fldSimple w:instr='QUOTE {' '.join(str(ord(char)) for char in COMMAND)}'/>"
    ),
    "an object with a moniker behind": relation(
        "oleObject", "http://example.test/a.html!x-usc:http://example.test/b"
    ),
    "a flat package": FLAT.encode(),
    "Word 2003's XML": WORD_2003.encode(),
    "ActiveMime": ACTIVE_MIME,
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_attacks_are_malicious(case: str) -> None:
    assert scan(MALICIOUS[case]).verdict is Verdict.MALICIOUS


def record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def bof(kind: int) -> bytes:
    return record(0x0809, struct.pack("<HHHH", 0x0600, kind, 0, 0) + bytes(8))


def text_token(text: str) -> bytes:
    return b"\x17" + bytes([len(text), 0]) + text.encode("latin-1")


def cell(tokens: bytes) -> bytes:
    return record(0x0006, bytes(20) + struct.pack("<H", len(tokens)) + tokens)


EXEC = text_token("cm") + text_token("d.exe /c dir") + b"\x08" + b"\x21\x6e\x00"
AUTO = record(0x0018, struct.pack("<HBBHHHI", 0x20, 0, 1, 0, 0, 0, 0) + b"\x00\x01")
AUTO_WRITTEN = record(0x0018, struct.pack("<HBBHHHI", 0, 0, 10, 0, 0, 0, 0) + b"\x00Auto_Open1")


def workbook(cells: bytes, names_: bytes = b"", kind: int = 1, state: int = 0, more: bytes = b"") -> bytes:
    return compound({"Workbook": workbook_stream(cells, names_, kind, state, more)})


def workbook_stream(cells: bytes, names_: bytes = b"", kind: int = 1, state: int = 0, more: bytes = b"") -> bytes:
    def head(place: int) -> bytes:
        return (
            bof(5)
            + more
            + record(0x0085, struct.pack("<IBBBB", place, state, kind, 1, 0) + b"a")
            + names_
            + record(0x0A)
        )

    return head(len(head(0))) + bof(0x40 if kind == 1 else 0x10) + cells + record(0x0A)


def test_macros_of_old_workbooks_are_read() -> None:
    data = workbook(cell(EXEC), AUTO, state=1)
    report = scan(data)
    assert report.verdict is Verdict.MALICIOUS
    assert {"xlm:macro-sheet", "xlm:hidden-macro-sheet", "xlm:auto-open", "xlm:exec", "xlm:command"} <= names(report)
    assert members(data)[("XLM",)] == b'=EXEC("' + b"cm" + b'd.exe /c dir")'


def test_a_macro_sheet_that_does_nothing_is_recorded() -> None:
    report = scan(workbook(cell(b"\x1e\x05\x00"), AUTO_WRITTEN))
    assert (report.verdict, names(report)) == (Verdict.SUSPICIOUS, {"xlm:macro-sheet", "xlm:auto-open"})
    assert scan(workbook(cell(b"\x1e\x05\x00"))).verdict is Verdict.CLEAN


def test_an_ordinary_workbook_is_clean() -> None:
    report = scan(workbook(cell(b"\x1e\x01\x00\x1e\x02\x00\x03"), kind=0))
    assert (report.verdict, names(report)) == (Verdict.CLEAN, set())


def test_a_dde_link_of_an_old_workbook() -> None:
    path = "cm" + "d\x03/c dir"
    link = record(0x01AE, struct.pack("<HHB", 0, len(path), 0) + path.encode("latin-1"))
    assert telling(scan(workbook(b"", kind=0, more=link))) == {(FindingKind.MALWARE, "ole:dde-command")}


def test_an_encrypted_workbook_is_encrypted() -> None:
    report = scan(workbook(b"", kind=0, more=record(0x2F, bytes(54))))
    assert telling(report) == {(FindingKind.ENCRYPTED, "encrypted:xls")}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (b"\x1e\x41\x00\x41\x6f\x00" + text_token("b") + b"\x08", '="Ab"'),
        (text_token("a") + text_token("b") + b"\x22\x02\x96\x00", '=CALL("a","b")'),
        (b"\x1f" + struct.pack("<d", 67.0) + b"\x21\x6f\x00", "=CHAR(67)"),
        (b"\x44" + bytes(4) + b"\x19\x40\x00\x00\x42\x01\x60\x80", "=FORMULA(REF)"),
        (b"\x21", "="),
        (b"\x17\xff", "="),
        (b"\x7f\x7f", "="),
        (b"\x08" * 5, "=?&?&?&?&?&?"),
    ],
)
def test_formulas_become_text(tokens: bytes, expected: str) -> None:
    assert formula.text_of(tokens) == expected


def test_records_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(cell(EXEC))  # five records of the workbook and the sheet, and the name
    monkeypatch.setattr(biff, "RECORDS_MAX", 6)
    assert biff.RECORDS_LIMIT not in names(scan(data))
    monkeypatch.setattr(biff, "RECORDS_MAX", 5)
    assert biff.RECORDS_LIMIT in names(scan(data))


def test_sheets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biff, "SHEETS_MAX", 1)
    assert biff.SHEETS_LIMIT not in names(scan(workbook(cell(EXEC))))
    monkeypatch.setattr(biff, "SHEETS_MAX", 0)
    assert biff.SHEETS_LIMIT in names(scan(workbook(cell(EXEC))))


def test_formulas_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biff, "FORMULA_BYTES_MAX", len(EXEC))
    assert biff.FORMULA_LIMIT not in names(scan(workbook(cell(EXEC))))
    monkeypatch.setattr(biff, "FORMULA_BYTES_MAX", len(EXEC) - 1)
    assert biff.FORMULA_LIMIT in names(scan(workbook(cell(EXEC))))


def test_texts_and_files_of_a_part_end_at_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = field("DATE")
    monkeypatch.setattr(ooxml, "TEXT_CHARACTERS_MAX", 4)
    assert ooxml.TEXT_LIMIT not in names(scan(data))
    monkeypatch.setattr(ooxml, "TEXT_CHARACTERS_MAX", 3)
    assert ooxml.TEXT_LIMIT in names(scan(data))
    characters = len(base64.b64encode(MACROS))
    monkeypatch.setattr(ooxml, "EMBEDDED_CHARACTERS_MAX", characters)
    assert ooxml.EMBEDDED_LIMIT not in names(scan(FLAT.encode()))
    monkeypatch.setattr(ooxml, "EMBEDDED_CHARACTERS_MAX", characters - 1)
    assert ooxml.EMBEDDED_LIMIT in names(scan(FLAT.encode()))


@pytest.mark.parametrize("encoding", ["made-up", "shift_jis", "idna", "koi8-r"])
def test_an_encoding_nobody_knows_is_damage_or_is_read(encoding: str) -> None:
    text = relations(("attachedTemplate", "http://example.test/")).replace('"1.0"', f'"1.0" encoding="{encoding}"')
    report = scan(package("_rels/.rels", text))
    assert telling(report) in (
        {(FindingKind.CORRUPT, "corrupt:xml")},
        {(FindingKind.SUSPICIOUS, "ooxml:remote-template")},
    )


def test_a_part_that_breaks_off_is_damaged_and_judged_as_far_as_it_goes() -> None:
    text = relations(("attachedTemplate", "http://example.test/"))
    assert telling(scan(package("_rels/.rels", text[:-5]))) == {
        (FindingKind.CORRUPT, "corrupt:xml"),
        (FindingKind.SUSPICIOUS, "ooxml:remote-template"),
    }


def test_a_document_type_is_refused_before_its_entities_grow() -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "ha"}">' for n in range(20))
    text = f'<?xml version="1.0"?><!DOCTYPE a [{laughs}]><Relationships xmlns="{TYPES}">&a19;</Relationships>'
    started = time.process_time()
    report = scan(package("_rels/.rels", text))
    assert is_within(time.process_time() - started, 1)
    assert "ooxml:doctype" in names(report)


BOMBS = {
    "elements": word("<w:instrText>a</w:instrText>" * 150_000),
    "depth": word("<w:instrText>" + "<w:r>" * 300_000),
    "attributes": word("<w:instrText/>" + "<w:r " + " ".join(f'a{n}="1"' for n in range(50_000)) + "/>"),
    "one field": word(f"<w:instrText>{'dde ' * 400_000}</w:instrText>"),
    "relations": package("_rels/.rels", relations(*[("image", "http://example.test/")] * 30_000)),
    "formulas": macro_sheet(*['CHAR(65)&amp;"b"'] * 50_000),
    "records": compound({"Workbook": bof(5) + record(0x18) * 1_000_000}),
    "sheets": compound({"Workbook": bof(5) + record(0x85, struct.pack("<IBB", 0, 0, 1)) * 20_000 + record(0x0A)}),
    "operators": workbook(cell(b"\x08" * 60_000) * 40),
    "strings": workbook(cell((text_token("a" * 250) + b"\x08") * 200) * 40),
    "ActiveMime": b"ActiveMime" + bytes(40) + zlib.compress(bytes(64 << 20)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_soon(bomb: str) -> None:
    started = time.process_time()
    report = scan(BOMBS[bomb])
    assert is_within(time.process_time() - started, 2)
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


@pytest.mark.parametrize("whole", [workbook(cell(EXEC), AUTO), FLAT.encode()[:3000], ACTIVE_MIME[:1500]])
def test_what_is_cut_short_or_damaged_never_fails(whole: bytes) -> None:
    for size in range(0, len(whole), 17):
        for data in (whole[:size], whole[:size] + bytes([whole[size] ^ 0x21]) + whole[size + 1 :]):
            assert not any(finding.kind is FindingKind.FAILED for finding in scan(data).findings), size


def test_the_time_is_asked_while_a_part_is_read() -> None:
    assert scan(BOMBS["elements"], budget=Budget(time.monotonic() - 1)).verdict is Verdict.ERROR
