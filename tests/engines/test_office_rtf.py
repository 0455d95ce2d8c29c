"""RTF: objects as Word decodes them, templates, fields, tricks; ordinary documents pass, hostile ones end soon."""

from __future__ import annotations

import time

import pytest

from engines.office import ole_table, rtf
from icapd.scan.model import FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_writing import compound, native_package, object1, vba_project
from tests.engines.samples import PLAIN, pe
from tests.engines.test_office_ole import EQUATION_CLASS, _equation, _link
from tests.support.pace import is_within


def document(body: str, head: str = "{\\rtf1\\ansi ") -> bytes:
    return (head + body + "}").encode("latin-1")


def embedded(content: bytes, class_name: str = "Word.Document.8", words: str = "\\objemb") -> str:
    digits = object1(class_name, content).hex()
    return "{\\object" + words + "{\\*\\objdata " + digits + "}}"


ORDINARY = {
    "text": (document("Soup {\\b for} everyone\\par"), set()),
    "a template on this machine": (document("{\\*\\template C:\\\\Templates\\\\letter.dot}"), set()),
    "a date": (document('{\\field{\\*\\fldinst DATE \\\\@ "d MMMM"}{\\fldrslt 1 May}}'), set()),
    "a link": (document('{\\field{\\*\\fldinst HYPERLINK "http://example.test/"}{\\fldrslt here}}'), set()),
    "a picture": (document("{\\pict\\pngblip " + "89504e47" * 5000 + "}"), set()),
    "words about it": (document("The word \\\\objdata and \\\\objupdate."), set()),
    "a document in it": (document(embedded(compound({"WordDocument": b"\xec\xa5" + bytes(500)}))), {"rtf:object"}),
    "an equation": (document(embedded(compound({"a": b"x"}), "Equation.3")), {"rtf:object", "ole:equation"}),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_documents_are_clean_and_recorded(case: str) -> None:
    data, expected = ORDINARY[case]
    report = scan(data)
    assert (report.verdict, names(report)) == (Verdict.CLEAN, expected)


MACROS = vba_project(M='Sub AutoOpen()\n Shell "calc"\nEnd Sub')
DDE = "DDE" + 'AUTO c:\\\\\\\\windows\\\\\\\\cmd.exe "/k dir"'
MALICIOUS = {
    "macros inside": document(embedded(MACROS)),
    "an equation that loads by itself": document(
        embedded(compound({"a": b"x"}, {"": EQUATION_CLASS}), "Word.Document.8", "\\objemb\\objupdate")
    ),
    "an overlong font": document(embedded(compound({"Equation Native": _equation(b"A" * 60)}), "Equation.3")),
    "an overlong font without a file": document(embedded(_equation(b"A" * 60), "equation.3")),
    "a script that is linked": document(embedded(bytes(30) + ole_table.SCRIPT_MONIKERS[0], "OLE2Link")),
    "a program that loads by itself": document(
        embedded(native_package("a.exe", pe())[4:], "Package", "\\objemb\\objupdate")
    ),
    "a command by DDE": document("{\\field{\\*\\fldinst {\\f1 " + DDE[:3] + "}{\\f2 " + DDE[3:] + "}}}"),
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_attacks_are_malicious(case: str) -> None:
    assert scan(MALICIOUS[case]).verdict is Verdict.MALICIOUS


SUSPICIOUS = {
    "rtf:remote-template": document("{\\*\\template http://example.test/a.dotm}"),
    "ole:packaged-program": document(embedded(native_package("a.js", PLAIN)[4:], "Package")),
    "ole:linked-address": document(embedded(compound({"\x01Ole": _link("http://example.test/a")}), "OLE2Link")),
    "rtf:dde": document('{\\field{\\*\\fldinst DDE excel "a" "b"}}'),
}


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_what_is_unusual_is_suspicious(name: str) -> None:
    assert (FindingKind.SUSPICIOUS, name) in telling(scan(SUSPICIOUS[name]))


def test_a_template_in_characters_by_number() -> None:
    hidden = "".join(f"\\u-{65536 - ord(char)}?" if char in "ht" else char for char in "http://example.test/a")
    assert "rtf:remote-template" in names(scan(document("{\\*\\template " + hidden.replace("?", " ") + "}")))


TEMPLATE = "http://example.test/a"
NUMBERED = {
    "one stands for each": "".join(f"\\u{ord(char)}?" for char in TEMPLATE),
    "a byte stands for each": "".join(f"\\u{ord(char)}\\'3f" for char in TEMPLATE),
    "none stands for it": "\\uc0\\u104ttp://example.test/a",
}


@pytest.mark.parametrize("case", NUMBERED)
def test_what_stands_for_a_character_is_skipped(case: str) -> None:
    assert "rtf:remote-template" in names(scan(document("{\\*\\template " + NUMBERED[case] + "}")))


def test_a_field_behind_much_formatting_is_read() -> None:
    noise = "{\\rtlch\\fcs1\\af0 }" * 2000 + " " * 20_000
    assert "rtf:dde-command" in names(scan(document("{\\field{\\*\\fldinst " + noise + DDE + "}}")))
    late = "x" * rtf._TEXT_CHARACTERS + " " + DDE
    assert "rtf:dde-command" not in names(scan(document("{\\field{\\*\\fldinst " + late + "}}")))


def test_a_command_in_numbers_is_one() -> None:
    code = "DDE" + "AUTO {\\field{\\*\\fldinst QUOTE " + " ".join(str(ord(char)) for char in "c:\\\\cmd.exe") + "}}"
    assert "rtf:dde-command" in names(scan(document("{\\field{\\*\\fldinst " + code + "}}")))


DIGITS = object1("Package", native_package("soup.txt", PLAIN)[4:]).hex()
TRICKS = {
    "white space": "\r\n".join(DIGITS[at : at + 3] for at in range(0, len(DIGITS), 3)),
    "control words": DIGITS[:20] + "\\bold " + DIGITS[20:31] + "\\par\n" + DIGITS[31:],
    "groups": DIGITS[:20] + "{\\*\\nothing ab}" + DIGITS[20:],
    "groups that count": DIGITS[:20] + "{" + DIGITS[20:40] + "}" + DIGITS[40:],
    "upper case": DIGITS.upper(),
    "a digit too many": "7" + DIGITS,
    "bytes with many zeros in their count": DIGITS + "\\bin" + "0" * 200 + "1 }",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_digits_that_are_broken_up_are_put_together(trick: str) -> None:
    data = document("{\\object{\\*\\objdata " + TRICKS[trick] + "}}")
    assert PLAIN in members(data).values()


def test_bytes_as_they_are() -> None:
    raw = object1("Package", native_package("soup.txt", PLAIN)[4:])
    data = b"{\\rtf1{\\object{\\*\\objdata \\bin" + str(len(raw)).encode() + b" " + raw + b"}}}"
    assert members(data)[("soup.txt",)] == PLAIN


def test_noise_and_an_odd_header_are_signs() -> None:
    noisy = "".join(f"{DIGITS[at : at + 8]}\\x{at} " for at in range(0, 80, 8)) + DIGITS[80:]
    data = document("{\\object{\\*\\objdata " + noisy + "}}", "{\\rt ")
    assert {"rtf:noise-in-object", "rtf:odd-header"} <= names(scan(data))


def test_objects_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = document(embedded(b"abc") * 3)
    monkeypatch.setattr(rtf, "OBJECTS_MAX", 3)
    assert rtf.OBJECTS_LIMIT not in names(scan(data))
    monkeypatch.setattr(rtf, "OBJECTS_MAX", 2)
    assert rtf.OBJECTS_LIMIT in names(scan(data))


def test_tokens_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = document("{\\*\\objdata 41 \\a 41}")
    monkeypatch.setattr(rtf, "TOKENS_MAX", 4)
    assert rtf.TOKENS_LIMIT not in names(scan(data))
    monkeypatch.setattr(rtf, "TOKENS_MAX", 3)
    assert rtf.TOKENS_LIMIT in names(scan(data))


BOMBS = {
    "open objects": b"{\\rtf1" + b"{\\*\\objdata 00" * 150_000,
    "open groups": b"{\\rtf1{\\*\\objdata " + b"{" * 1_000_000,
    "closing": b"{\\rtf1{\\*\\objdata " + b"}" * 1_000_000,
    "backslashes": b"{\\rtf1{\\*\\objdata " + b"\\" * 1_000_000,
    "bins": b"{\\rtf1{\\*\\objdata " + b"\\bin9999999999 " * 50_000,
    "bins that overlap": b"{\\rtf1" + b"{\\*\\objdata \\bin4000000 " * 200 + bytes(4_000_000),
    "templates": b"{\\rtf1" + b"{\\*\\template h" * 100_000,
    "controls": b"{\\rtf1{\\*\\objdata " + b"\\a" * 500_000,
    "digits": b"{\\rtf1{\\*\\objdata " + b"41" * 4_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_soon(bomb: str) -> None:
    started = time.process_time()
    report = scan(BOMBS[bomb])
    assert is_within(time.process_time() - started, 2)
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


def test_a_document_cut_short_or_damaged_never_fails() -> None:
    whole = MALICIOUS["an overlong font without a file"]
    for size in range(0, len(whole), 3):
        for data in (whole[:size], whole[:size] + bytes([whole[size] ^ 0x21]) + whole[size + 1 :]):
            assert not any(finding.kind is FindingKind.FAILED for finding in scan(data).findings), size
