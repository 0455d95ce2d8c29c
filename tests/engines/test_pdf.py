"""PDF files: what runs when they open, what is inside them; ordinary ones pass, damaged and hostile ones end well."""

from __future__ import annotations

import time

import pytest

from engines.pdf import PdfOptions, table
from engines.pdf.script import prepare
from engines.pdf.unpacker import PdfUnpacker
from icapd.scan.model import Budget, FindingKind, Sample, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.pdf_writing import Encryption, document, encrypted, object_stream, stream
from tests.engines.samples import PLAIN, pe, zip_of
from tests.engines.starter_case import PS
from tests.support.pace import is_within

PAGES = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>"
TEXT = stream(b"BT /F1 12 Tf 72 720 Td (Soup for everyone) Tj ET")
FIELD = '<< /S /JavaScript /JS (AFNumber_Format\\(2, 0, 0, 0, "", true\\);) >>'


def ordinary(catalog: str = "", *more: bytes | str) -> bytes:
    """A page of text; `more` are objects from number 5 on."""
    return document(f"<< /Type /Catalog /Pages 2 0 R {catalog} >>", PAGES, PAGE, TEXT, *more)


ORDINARY = {
    "a page": (ordinary(), set()),
    "opens at a page": (ordinary("/OpenAction [3 0 R /Fit]"), set()),
    "opens by going to a page": (ordinary("/OpenAction << /S /GoTo /D [3 0 R /Fit] >>"), set()),
    "links": (ordinary("", "<< /Subtype /Link /A << /S /URI /URI (http://example.test/) >> >>"), set()),
    "a form": (
        ordinary("/AcroForm << /Fields [5 0 R] >>", f"<< /FT /Tx /AA << /K {FIELD} /F {FIELD} /V {FIELD} >> >>"),
        {"pdf:javascript"},
    ),
    "a form with a script for all": (
        ordinary(
            "/Names << /JavaScript << /Names [(a) 5 0 R] >> >>", FIELD.replace("AFNumber", "function f\\(\\){}")
        ),
        {"pdf:javascript", "pdf:document-script"},
    ),
    "a calculation on opening": (
        ordinary("/OpenAction 5 0 R", "<< /S /JavaScript /JS (this.calculateNow\\(\\);) >>"),
        {"pdf:javascript", "pdf:script-on-open"},
    ),
    "prints on opening": (
        ordinary("/OpenAction << /S /JavaScript /JS (this.print\\(true\\);) >>"),
        {"pdf:javascript", "pdf:script-on-open"},
    ),
    "a form that is sent": (ordinary("", "<< /S /SubmitForm /F (http://example.test/) >>"), {"pdf:submit-form"}),
    "a spreadsheet attached": (
        ordinary("", "<< /Type /Filespec /F (data.xlsx) /EF << /F 6 0 R >> >>", stream(PLAIN, "/Type /EmbeddedFile")),
        {"pdf:attachment"},
    ),
    "a font whose name has a blank": (ordinary("", "<< /Type /Font /BaseFont /Times#20New#2CBold >>"), set()),
    "no end": (ordinary()[:-7], {"pdf:no-end"}),
    "a late header": (b"junk\n" + ordinary(), {"pdf:late-header"}),
    "printf without a width": (
        ordinary("/OpenAction << /S /JavaScript /JS (util.printf\\('%.2f', 3\\)) >>"),
        {"pdf:javascript", "pdf:script-on-open"},
    ),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_files_are_clean_and_recorded(case: str) -> None:
    data, expected = ORDINARY[case]
    report = scan(data)
    assert (report.verdict, names(report)) == (Verdict.CLEAN, expected)


EVAL = "eval\\(unescape\\('%61'\\)\\)"


def on_open(script: str) -> bytes:
    return ordinary("/OpenAction 5 0 R", f"<< /S /JavaScript /JS ({script}) >>")


def launch(target: str) -> bytes:
    return ordinary("/OpenAction 5 0 R", f"<< /S /Launch {target} >>")


COMMAND = "cm" + "d.exe"
HOSTILE = {
    "runs decoded text": on_open(EVAL),
    "in pieces": on_open("this['ev'+'al']\\('a'\\)"),
    "in hexadecimal": on_open('this["\\\\x65val"]\\(b\\)'),
    "as a constructor": on_open("new Function\\(a\\)\\(\\)"),
    "decodes": on_open("var a = unescape\\('%75'\\); a += a"),
    "machine code": on_open("var s = '" + "%u9090%u4141" * 8 + "'"),
    "spray": on_open("while \\(s.length < 0x100000\\) s += s"),
    "broken call": on_open("Collab.collectEmailInfo\\({msg: m}\\)"),
    "overlong width": on_open('util.printf\\("%45000f", 1\\)'),
    "in a hexadecimal string": ordinary(
        "/OpenAction 5 0 R", f"<< /S /JavaScript /JS <{b'eval(unescape(1))'.hex()}> >>"
    ),
    "in UTF-16": ordinary(
        "/OpenAction 5 0 R", f"<< /S /JavaScript /JS <{(chr(0xFEFF) + 'eval(a)').encode('utf-16-be').hex()}> >>"
    ),
    "in a stream": ordinary("/OpenAction 5 0 R", "<< /S /JavaScript /JS 6 0 R >>", stream(b"eval(unescape(a))")),
    "behind three filters": ordinary(
        "/OpenAction 5 0 R",
        "<< /S /JavaScript /JS 6 0 R >>",
        stream(b"eval(unescape(a))", "", ("ASCIIHexDecode", "ASCII85Decode", "FlateDecode")),
    ),
    "in an object stream": ordinary(
        "/OpenAction 9 0 R", object_stream({9: "<< /S /JavaScript /JS 10 0 R >>", 10: "(eval\\(unescape\\(a\\)\\))"})
    ),
    "escaped names": ordinary("/Open#41ction 5 0 R", f"<< /S /J#61vaScript /#4aS ({EVAL}) >>"),
    "on a page": ordinary("", f"<< /Type /Page /AA << /O << /S /JavaScript /JS ({EVAL}) >> >> >>"),
    "after another action": ordinary(
        "/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next 5 0 R >>", f"<< /S /JavaScript /JS ({EVAL}) >>"
    ),
    "for the whole document": ordinary(
        "/Names << /JavaScript << /Names [(a) 5 0 R] >> >>",
        "<< /S /JavaScript /JS (a = unescape\\('" + "%u9090%u4141" * 8 + "'\\)) >>",
    ),
    "in an XFA form": ordinary(
        "/AcroForm << /XFA [(template) 5 0 R] >> /OpenAction 6 0 R",
        stream(b'<subform><event><script contentType="application/x-javascript">eval(unescape(a))</script></event>'),
        "<< /S /JavaScript /JS (start\\(\\)) >>",
    ),
    "replaced by a later revision": ordinary("/OpenAction 5 0 R", f"<< /S /JavaScript /JS ({EVAL}) >>")
    + b"5 0 obj\n<< /S /GoTo >>\nendobj\n%%EOF",
    "a key that comes twice": ordinary(
        "/OpenAction 5 0 R /OpenAction [3 0 R /Fit]", f"<< /S /JavaScript /JS ({EVAL}) >>"
    ),
    "launches a command": launch(f"/Win << /F ({COMMAND}) /P (/c dir) >>"),
    "launches by a specification": ordinary(
        "/OpenAction 5 0 R", "<< /S /Launch /F 6 0 R >>", f"<< /Type /Filespec /F (c:\\\\windows\\\\{COMMAND}) >>"
    ),
    "launches a program": launch("/F (a.exe)"),
    "launches a script host": launch(f"/F ({PS})"),
    "opens what is attached": on_open('this.exportDataObject\\({ cName: "a", nLaunch: 2 }\\)'),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_attacks_when_it_opens_is_malicious(case: str) -> None:
    assert scan(HOSTILE[case]).verdict is Verdict.MALICIOUS


SUSPICIOUS = {
    "launches a manual": (launch("/F (manual.pdf)"), "pdf:launch"),
    "attaches a program": (
        ordinary("", "<< /Type /Filespec /UF (invoice.exe) /EF << /F 6 0 R >> >>", stream(pe())),
        "pdf:attached-program",
    ),
    "refers to another machine": (
        ordinary("", "<< /S /GoToR /F (\\\\\\\\192.0.2.1\\\\a) /D [0 /Fit] >>"),
        "pdf:remote-file",
    ),
    "sends a form on opening": (
        ordinary("/OpenAction << /S /SubmitForm /F (http://example.test/) >>"),
        "pdf:submit-on-open",
    ),
    "rich media": (ordinary("", "<< /Type /Annot /Subtype /RichMedia >>"), "pdf:rich-media"),
    "hides its names": (ordinary("/Open#41ction [3 0 R /Fit]"), "pdf:escaped-names"),
}


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_what_is_unusual_is_suspicious(case: str) -> None:
    data, name = SUSPICIOUS[case]
    assert telling(scan(data)) == {(FindingKind.SUSPICIOUS, name)}


def test_thresholds_are_met_exactly() -> None:
    data = launch("/F (manual.pdf)")
    assert scan(data, pdf=PdfOptions(suspicious_score=40)).verdict is Verdict.SUSPICIOUS
    assert scan(data, pdf=PdfOptions(suspicious_score=41)).verdict is Verdict.CLEAN
    attack = launch(f"/F ({COMMAND})")
    assert scan(attack, pdf=PdfOptions(malicious_score=140)).verdict is Verdict.MALICIOUS
    assert scan(attack, pdf=PdfOptions(malicious_score=141)).verdict is Verdict.SUSPICIOUS


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="malicious_score is below"):
        PdfOptions(suspicious_score=50, malicious_score=49)


def test_attachments_and_streams_are_members() -> None:
    inner = zip_of({"soup.txt": PLAIN})
    specification = "<< /Type /Filespec /F (soup.zip) /EF << /F 6 0 R >> >>"
    found = members(ordinary("", specification, stream(inner, "/Type /EmbeddedFile", ())))
    assert found[("soup.zip", "soup.txt")] == PLAIN
    assert found[("stream 4",)].startswith(b"BT ")
    assert members(on_open(EVAL))[("script 1",)] == b"eval(unescape('%61'))"


@pytest.mark.parametrize("revision", [2, 3, 4, 5, 6])
def test_what_an_empty_password_opens_is_read(revision: int) -> None:
    report = scan(encrypted(Encryption(revision), b"eval(unescape(a))"))
    assert report.verdict is Verdict.MALICIOUS
    assert {"pdf:attached-program", "pdf:eval"} <= names(report)
    assert not any(finding.kind is FindingKind.ENCRYPTED for finding in report.findings)


@pytest.mark.parametrize("revision", [2, 3, 4])
def test_what_needs_a_password_is_encrypted(revision: int) -> None:
    report = scan(encrypted(Encryption(revision, b"secret"), b"eval(unescape(a))"))
    assert telling(report) == {(FindingKind.ENCRYPTED, "encrypted:pdf")}
    assert report.verdict is Verdict.UNSCANNABLE


@pytest.mark.parametrize("change", ["/V 9", "/R 9", "/Filter /Other", "/O <00>", "/Length 56"])
def test_an_encryption_nobody_knows_is_encrypted(change: str) -> None:
    key, _, value = change.partition(" ")
    entry = Encryption(3).entry.replace(f"{key} ", f"{key}Old ", 1)[:-2] + f"{key} {value} >>"
    data = ordinary("", entry, "<< >>").replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 5 0 R")
    assert names(scan(data)) >= {"encrypted:pdf"}


def test_a_length_that_is_an_object_is_followed_past_a_false_end() -> None:
    code = b"// endstream endobj\neval(unescape(a))"
    data = ordinary(
        "/OpenAction 5 0 R",
        "<< /S /JavaScript /JS 6 0 R >>",
        b"<< /Length 7 0 R >>\nstream\n" + code + b"\nendstream",
        str(len(code)),
    )
    assert members(data)[("script 1",)] == code


def test_an_unknown_filter_is_unsupported() -> None:
    data = ordinary("", stream(b"abc" * 20, "", ("FlateDecode",)).replace(b"/FlateDecode", b"/MyOwnDecode"))
    assert telling(scan(data)) == {(FindingKind.UNSUPPORTED, "unsupported:pdf-filter-unknown")}


def test_a_stream_that_gives_nothing_is_damaged() -> None:
    data = ordinary("", b"<< /Length 40 /Filter /FlateDecode >>\nstream\n" + b"\xff" * 40 + b"\nendstream")
    assert telling(scan(data)) == {(FindingKind.CORRUPT, "corrupt:pdf")}


def test_other_files_are_not_opened_at_next_to_no_cost() -> None:
    pdf = PdfUnpacker(PdfOptions())
    sample = Sample(b"\x89PNG\r\n\x1a\n" + bytes(500_000))
    started = time.process_time()
    for _ in range(10_000):
        assert not pdf.opens(sample)
    assert (time.process_time() - started) / 10_000 < 10e-6


def test_a_header_is_looked_for_where_readers_look() -> None:
    pdf = PdfUnpacker(PdfOptions())
    assert pdf.opens(Sample(bytes(1024) + b"%PDF-1.4"))
    assert not pdf.opens(Sample(bytes(1025) + b"%PDF-1.4"))


SLOW = {
    "quotes": '"' * 300_000,
    "escapes": '"\\' * 150_000,
    "stars": "/*" * 150_000,
    "stars in a comment": "/*" + "*" * 300_000,
    "joins": '"+' * 150_000,
    "members": "[ " * 150_000,
    "codes": "%41" * 100_000,
    "blanks": "eval" + " " * 300_000,
    "evals": "eval " * 60_000,
    "news": "new " * 80_000,
    "calls": "util.printf(" * 30_000,
}


@pytest.mark.parametrize("text", SLOW)
def test_no_expression_is_slow(text: str) -> None:
    started = time.process_time()
    prepared = prepare(SLOW[text])
    for row in table.ROWS:
        row.is_in(prepared)
    table.COMMAND.search(SLOW[text])
    assert is_within(time.process_time() - started, 1)


def test_every_row_has_one_name_and_lower_case_words() -> None:
    assert len({row.name for row in table.ALL}) == len(table.ALL)
    for row in table.ROWS:
        assert row.words
        assert all(word == word.lower() for word in row.words), row.name


def test_a_file_cut_short_or_damaged_anywhere_never_fails() -> None:
    whole = HOSTILE["behind three filters"]
    for size in range(0, len(whole), 13):
        damaged = whole[:size] + bytes([whole[size] ^ 0x55]) + whole[size + 1 :]
        for data in (whole[:size], damaged):
            report = scan(data)
            assert not any(finding.kind is FindingKind.FAILED for finding in report.findings), size


def test_budgets_that_are_used_up_are_limits() -> None:
    data = ordinary("", stream(b"x" * 1000))
    assert "archive.max_unpacked_bytes" in names(scan(data, budget=Budget(time.monotonic() + 20, bytes_left=100)))
    assert "archive.max_members" in names(scan(data, budget=Budget(time.monotonic() + 20, members_left=0)))
    assert scan(data, budget=Budget(time.monotonic() - 1)).verdict is Verdict.ERROR
