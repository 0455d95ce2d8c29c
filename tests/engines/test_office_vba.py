"""Visual Basic projects: source is recovered, signs add up, tricks are undone, damage and bombs end well."""

from __future__ import annotations

import struct
import time

import pytest

from engines.office import OfficeOptions, ovba, vba_table
from engines.office.compound import MAGIC
from engines.office.vba_text import prepare
from icapd.scan.model import Budget, FindingKind, Sample, Severity, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_writing import compound, compressed, module_text, raw_container, vba_project, vba_streams
from tests.engines.samples import zip_of
from tests.engines.starter_case import GET_FILE, MSHTA, PS, STREAM, WEB_CLIENT, WS_SHELL, XML_HTTP
from tests.support.pace import is_within

FETCH = "URLDownload" + "ToFile"
OPEN = "Sub Auto" + "Open()\n{}\nEnd Sub\n"
CALC = 'Shell "calc"'
CHR_CALL = " & ".join(f"Chr({ord(char)})" for char in WS_SHELL)


def auto(line: str) -> bytes:
    return vba_project(ThisDocument=OPEN.format(line))


def budget() -> Budget:
    return Budget(time.monotonic() + 20)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("pattern", [b"a", b"abc", b"Sub AutoOpen()\r\n", bytes(range(256))])
def test_what_was_compressed_comes_back(size: int, pattern: bytes) -> None:
    source = (pattern * (size // len(pattern) + 1))[:size]
    assert ovba.decompress(compressed(source), 0, budget(), 1 << 20) == source


def test_copies_of_every_distance_come_back() -> None:
    source = b"".join(b"%d,%d;" % (number, number * number) for number in range(900))
    assert ovba.decompress(b"xx" + compressed(source), 2, budget(), 1 << 20) == source


def test_a_container_ends_at_its_limit() -> None:
    packed = compressed(bytes(3 * 4096))
    assert len(ovba.decompress(packed, 0, budget(), 8192)) == 8192
    assert len(ovba.decompress(packed, 0, budget(), 8191)) == 8191


HARMLESS = {
    "no macro that starts": 'Sub Total()\n Range("A1").Value = 3\nEnd Sub\n',
    "zoom": OPEN.format("ActiveWindow.View.Zoom.Percentage = 100"),
    "calculation": "Private Sub Workbook_Open()\n Sheets(1).Activate\n Application.Calculate\nEnd Sub\n",
    "words in comments": OPEN.format(f"x = 1 ' {WS_SHELL} and {PS}\n Rem {CALC}"),
    "a variable named shell": OPEN.format("Dim shell As Object\n Set shell = Nothing\n shell = 1"),
    "shell without a start": f"Sub Button1_Click()\n {CALC}\nEnd Sub\n",
    "copies": OPEN.format('a = "sub shell" & b\n c = a & "x"'),
    "a sum of a column": "Function Total(r)\n For Each c In r\n Total = Total + c\n Next\nEnd Function\n",
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_macros_are_not_malicious_and_are_recorded(case: str) -> None:
    report = scan(vba_project(ThisDocument=HARMLESS[case]))
    assert report.verdict is (Verdict.SUSPICIOUS if case == "shell without a start" else Verdict.CLEAN)
    assert "vba:macros" in names(report)


HOSTILE = {
    "shell": CALC,
    "shell as function": 'pid = Shell("calc", vbHide)',
    "after a continuation": 'Call _\n Shell("calc")',
    "wscript": f'CreateObject("{WS_SHELL}").Run "calc"',
    "split": f'CreateObject("{WS_SHELL[:4]}" & "{WS_SHELL[4:]}").Run x',
    "split by plus": f'CreateObject("{WS_SHELL[:4]}" + "{WS_SHELL[4:]}").Run x',
    "reversed": f'CreateObject(StrReverse("{WS_SHELL[::-1]}")).Run x',
    "character codes": f"CreateObject({CHR_CALL}).Run x",
    "character sums": "x = Chr(100 + 9) & ChrW$(&H73) & Chr(104) & Chr(232 xor 156) & Chr(97)",
    "hexadecimal": f'x = "{(PS + " -w hidden").encode().hex()}"',
    "numbers": f"x = Array({', '.join(str(ord(char)) for char in PS + '.exe -enc')})",
    "interpreter": 'x = "cmd /c dir"',
    "interpreter in carets": 'x = "cmd ^/c dir"',
    "system tool": f'x = "{MSHTA} http://example.test/a"',
    "download": f'Private Declare Function {FETCH} Lib "urlmon" ()',
    "script download": f'x = "(New-Object {WEB_CLIENT}).{GET_FILE}"',
    "saved download": f'Set a = CreateObject("{XML_HTTP}")\n Set b = CreateObject("{STREAM}")',
    "process by WMI": 'GetObject("winmgmts:").Get("Win32_' + 'Process").Create "calc"',
    "machine code": "Declare PtrSafe Function Virtual" + 'Alloc Lib "kernel32" ()',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_starting_by_itself_with_a_program_or_download_is_malicious(case: str) -> None:
    report = scan(auto(HOSTILE[case]))
    assert report.verdict is Verdict.MALICIOUS
    assert "vba:auto-exec" in names(report)


@pytest.mark.parametrize(
    "start",
    [
        "Private Sub Document_Open()\n{}\nEnd Sub",
        "Sub Workbook_Open()\n{}\nEnd Sub",
        "Sub auto_close()\n{}\nEnd Sub",
        "Function AutoExec()\n{}\nEnd Function",
        "Sub InkPicture1_Painted(ByVal h As Long)\n{}\nEnd Sub",
    ],
)
def test_every_way_to_start_counts(start: str) -> None:
    assert scan(vba_project(M=start.format(CALC))).verdict is Verdict.MALICIOUS


def test_a_start_and_a_shell_in_different_modules_count_together() -> None:
    project = vba_project(ThisDocument=OPEN.format("Go"), Module1=f"Sub Go()\n {CALC}\nEnd Sub")
    assert telling(scan(project)) == {(FindingKind.MALWARE, "vba:runs-program-by-itself")}


def test_weak_signs_add_up_to_suspicious_but_never_to_malicious() -> None:
    weak = 'x = Environ("TEMP")\n Open "a.exe" For Binary As 1\n CallByName a, "b"\n y = CreateObject("MSXML2" & z)'
    weak += "\n" + 'z = StrReverse("cba")\n If Application.RecentFiles.Count < 3 Then Exit Sub'
    report = scan(auto(weak), options=OfficeOptions(suspicious_score=40, malicious_score=41))
    assert report.verdict is Verdict.SUSPICIOUS
    assert {"vba:environment", "vba:program-name", "vba:writes-file", "vba:call-by-name"} <= names(report)


def test_thresholds_are_met_exactly() -> None:
    zoom = auto("x = 1")
    assert scan(zoom, options=OfficeOptions(suspicious_score=30)).verdict is Verdict.SUSPICIOUS
    assert scan(zoom, options=OfficeOptions(suspicious_score=31)).verdict is Verdict.CLEAN
    shell = auto(CALC)  # macros 10, auto-exec 20, shell 30, both together 100
    assert scan(shell, options=OfficeOptions(malicious_score=160)).verdict is Verdict.MALICIOUS
    assert scan(shell, options=OfficeOptions(malicious_score=161)).verdict is Verdict.SUSPICIOUS


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="malicious_score is below"):
        OfficeOptions(suspicious_score=50, malicious_score=49)


def test_a_project_inside_a_document_package_is_judged_with_its_trail() -> None:
    document = zip_of({"[Content_Types].xml": b"<Types/>", "word/vbaProject.bin": auto(CALC)})
    report = scan(document)
    assert report.verdict is Verdict.MALICIOUS
    assert report.findings[0].trail == ("word/vbaProject.bin",)
    assert ("word/vbaProject.bin", "VBA/ThisDocument") in members(document)


def test_source_is_a_member_as_it_was_written() -> None:
    found = members(auto(CALC))
    assert found[("VBA/ThisDocument",)] == module_text("ThisDocument", OPEN.format(CALC))


def test_source_that_was_taken_away_leaves_what_was_compiled() -> None:
    cache = b"\x01\x02" + b"Document_Open" + bytes(9) + WS_SHELL.encode() + bytes(40)
    stomped = compound(vba_streams({"M": ""}, cache=cache, sources={"M": compressed(module_text("M", ""))}))
    report = scan(stomped)
    assert report.verdict is Verdict.MALICIOUS
    assert {"vba:source-removed", "vba:auto-exec", "vba:wscript-shell"} <= names(report)
    gone = compound(vba_streams({"M": ""}, sources={"M": b""}))
    assert "vba:source-removed" in names(scan(gone))


DECOY = "Sub Sum()\n x = 1 + 1 ' adds\nEnd Sub"


def test_source_that_was_replaced_does_not_hide_what_was_compiled() -> None:
    cache = b"\x01\x02" + b"Document_Open" + bytes(9) + WS_SHELL.encode() + bytes(40)
    report = scan(compound(vba_streams({"M": DECOY}, cache=cache)))
    assert report.verdict is Verdict.MALICIOUS
    assert {"vba:source-removed", "vba:auto-exec", "vba:wscript-shell"} <= names(report)


def test_compiled_code_that_says_what_its_source_says_is_nothing() -> None:
    said = f"{DECOY}\n' or by {WS_SHELL}"
    cache = b"\x01\x02" + b"Sum" + bytes(9) + remark(f" or by {WS_SHELL}") + bytes(40)
    assert names(scan(compound(vba_streams({"M": said}, cache=cache)))) == {"vba:macros"}


def remark(text: str, instruction: int = 0xE3, column: int = 0) -> bytes:
    """A comment as it is compiled."""
    return struct.pack("<HHH", instruction, column, len(text)) + text.encode("latin-1")


@pytest.mark.parametrize("code", ["", DECOY])
def test_comments_do_not_silence_compiled_code(code: str) -> None:
    said = f"{code}\n' autoopen document_open shell {WS_SHELL}"
    cache = b"\x01\x02" + b"Document_Open" + bytes(9) + WS_SHELL.encode() + bytes(40)
    report = scan(compound(vba_streams({"M": said}, cache=cache)))
    assert report.verdict is Verdict.MALICIOUS
    assert {"vba:source-removed", "vba:auto-exec", "vba:wscript-shell"} <= names(report)


@pytest.mark.parametrize(
    ("code", "compiled"),
    [
        ("", remark(f" {WS_SHELL}")),
        (DECOY, remark(f" {WS_SHELL}", column=0xB9)),
        (DECOY, remark(f" {WS_SHELL}", instruction=0xB9)),
        (DECOY, remark(f" {WS_SHELL} ")[:-1] + b"x"),
    ],
    ids=["no code", "a string's column", "a string", "another text"],
)
def test_only_comments_are_taken_out_of_compiled_code(code: str, compiled: bytes) -> None:
    streams = vba_streams({"M": f"{code}\n' {WS_SHELL}"}, cache=bytes(8) + compiled + bytes(8))
    assert "vba:source-removed" in names(scan(compound(streams)))


def test_padding_of_one_stream_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = b"Document_Open" + bytes(9) + WS_SHELL.encode() + bytes(40)
    streams = vba_streams({"M": DECOY}, cache=cache)
    monkeypatch.setattr("engines.office.vba.SOURCE_BYTES_MAX", 1000)
    for padding, is_cut in ((1000, False), (1001, True)):
        report = scan(compound(streams | {"VBA/_VBA_PROJECT": b"x" * padding}))
        assert report.verdict is Verdict.MALICIOUS
        assert {"vba:source-removed", "vba:wscript-shell"} <= names(report)
        assert ("office.max_macro_bytes" in names(report)) is is_cut


def test_a_reference_to_a_library_is_no_use_of_it() -> None:
    code = "Sub Workbook_Open()\n Dim files As New FileSystemObject\n Range(1) = files.GetBaseName(a)\nEnd Sub"
    compiled = b"\xcc\x61\xff\xff\0\0\0" + "wshom.ocx#Windows Script Host Object Model".encode("utf-16-le")
    streams = vba_streams({"M": code}) | {"VBA/_VBA_PROJECT": compiled + b"\x12\0IWshRuntime" + b"Library\0"}
    assert names(scan(compound(streams))) == {"vba:macros", "vba:auto-exec"}


def test_modules_that_the_list_leaves_out_are_found() -> None:
    streams = vba_streams({"M": DECOY}) | {
        "VBA/Other": bytes(64) + compressed(module_text("Other", OPEN.format(CALC)))
    }
    report = scan(compound(streams))
    assert report.verdict is Verdict.MALICIOUS
    assert {("VBA/M",), ("VBA/other 1",)} <= set(members(compound(streams)))


def test_an_empty_module_with_a_cache_is_nothing() -> None:
    assert names(scan(vba_project(ThisDocument="", Module1="Sub A()\n x = 1\nEnd Sub"))) == {"vba:macros"}


def test_chunks_that_are_not_compressed_are_read() -> None:
    raw = raw_container(module_text("M", OPEN.format(CALC)))
    assert scan(compound(vba_streams({"M": ""}, sources={"M": raw}))).verdict is Verdict.MALICIOUS


def test_a_project_without_its_list_of_modules_is_searched() -> None:
    streams = vba_streams({"M": OPEN.format(CALC)})
    del streams["VBA/dir"]
    assert scan(compound(streams)).verdict is Verdict.MALICIOUS
    broken = vba_streams({"M": OPEN.format(CALC)}) | {"VBA/dir": b"\x01\x00\xb0"}
    assert scan(compound(broken)).verdict is Verdict.MALICIOUS


def test_sources_past_the_ceiling_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "x = 1\n" * 100
    source = len(module_text("M", code))
    monkeypatch.setattr("engines.office.vba.SOURCE_BYTES_MAX", source + 1)
    assert "office.max_macro_bytes" not in names(scan(vba_project(M=code)))
    monkeypatch.setattr("engines.office.vba.SOURCE_BYTES_MAX", source)
    assert "office.max_macro_bytes" in names(scan(vba_project(M=code)))


def test_what_tricks_hide_past_the_ceiling_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f'x = "{(b"plain text" * 3).hex()}"'
    monkeypatch.setattr("engines.office.vba_text.DECODED_CHARACTERS_MAX", 30)
    assert "office.max_macro_bytes" not in names(scan(vba_project(M=code)))
    monkeypatch.setattr("engines.office.vba_text.DECODED_CHARACTERS_MAX", 29)
    assert "office.max_macro_bytes" in names(scan(vba_project(M=code)))


def test_a_project_cut_short_anywhere_never_fails() -> None:
    whole = auto(f'{CALC}\n CreateObject("{WS_SHELL}")')
    for size in range(0, len(whole), 97):
        report = scan(whole[:size])
        assert not any(finding.kind is FindingKind.FAILED for finding in report.findings), size


def _listed_often() -> bytes:
    """Three hundred modules, each of which begins again at every twelfth byte."""
    streams = vba_streams(dict.fromkeys([f"M{number}" for number in range(300)], ""))
    mark = b"\x01\xff\xbf\x00Attribut"
    return compound({name: mark * 1000 if name.startswith("VBA/M") else data for name, data in streams.items()})


BOMBS = {
    "marks": b"\x00" + b"\x01\xff\xbf\x00Attribut" * 90_000,
    "copies": b"\x01" + (b"\x05\xb0" + b"\x02a\xff\x0f" + b"\xff\x0f") * 60_000,
    "literals": b"\x01" + b"\xff\xb0" * 100_000,
    "empty chunks": b"\x01" + b"\x00\xb0\x00" * 200_000,
}


@pytest.mark.parametrize("data", [_listed_often(), compound({"a": BOMBS["marks"]}), MAGIC + BOMBS["marks"]])
def test_what_looks_like_many_modules_ends_soon(data: bytes) -> None:
    started = time.process_time()
    report = scan(data)
    assert is_within(time.process_time() - started, 2)
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_a_module_ends_soon(bomb: str) -> None:
    data = compound(vba_streams({"M": ""}, sources={"M": BOMBS[bomb]}))
    started = time.process_time()
    report = scan(data)
    assert is_within(time.process_time() - started, 2)
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


SLOW = {
    "quotes": '"' * 300_000,
    "odd quotes": 'a"b' * 100_001,
    "codes": "chr(" * 100_000,
    "joins": '"a"&' * 100_000,
    "numbers": "array(1" + ",1" * 200_000,
    "arrays": "array(1,1,1,1,1,1,1,1," * 20_000,
    "digits": '"' + "ab" * 150_000 + '"',
    "strings": '"' + "a" * 300_000,
    "spaces": "sub" + " " * 300_000,
    "subs": "sub " * 80_000,
    "events": "sub " + "a_" * 150_000,
    "declares": "declare " * 40_000,
    "shells": "\nshell " * 40_000,
    "continued": " _" * 150_000,
    "rem": ":" + " " * 300_000,
    "lines of rem": (":" + " " * 500) * 600,
    "cmd": "cmd" + '"' * 200_000,
}


@pytest.mark.parametrize("text", SLOW)
def test_no_expression_is_slow(text: str) -> None:
    started = time.process_time()
    prepared = prepare(SLOW[text], lambda: None)
    for row in vba_table.ROWS:
        row.is_in(prepared.plain)
    assert is_within(time.process_time() - started, 1)


def test_every_row_of_the_table_can_be_found() -> None:
    for row in vba_table.ROWS:
        assert row.words
        assert all(word == word.lower() for word in row.words), row.name
        assert row.weight > 0
        assert row.severity in Severity
    assert len({row.name for row in vba_table.ALL}) == len(vba_table.ALL)


def test_a_budget_that_is_used_up_is_a_limit() -> None:
    data = auto("x = 1")
    small = Budget(time.monotonic() + 20, bytes_left=100)
    assert "archive.max_unpacked_bytes" in names(scan(data, budget=small))
    few = Budget(time.monotonic() + 20, members_left=0)
    assert "archive.max_members" in names(scan(data, budget=few))
    late = Budget(time.monotonic() - 1)
    assert scan(data, budget=late).verdict is Verdict.ERROR


def test_other_files_are_not_opened_at_next_to_no_cost() -> None:
    from engines.office.unpacker import OfficeUnpacker

    office = OfficeUnpacker(OfficeOptions())
    sample = Sample(b"\x89PNG\r\n\x1a\n" + bytes(500_000))
    started = time.process_time()
    for _ in range(10_000):
        assert not office.opens(sample)
    assert (time.process_time() - started) / 10_000 < 10e-6
