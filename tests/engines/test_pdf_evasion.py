"""PDF files that hide from scanners what readers see: each was missed once, or is what somebody would try next."""

from __future__ import annotations

import time
import zlib

import pytest

from engines.pdf import PdfOptions, contents, document, unpacker
from engines.pdf.crypt import Locked
from engines.pdf.filters import CHAIN_LIMIT, Effort, decode
from engines.pdf.values import Value
from icapd.scan.model import Budget, FindingKind, Verdict
from tests.engines.document_probe import Seen, members, names, scan, telling
from tests.engines.pdf_writing import ENCODERS, IDENTIFIER, Encryption, encrypted, object_stream, png_rows, stream
from tests.engines.samples import PLAIN, zip_of
from tests.engines.test_pdf import EVAL, TEXT, ordinary
from tests.support.pace import is_within

ACTION = f"<< /S /JavaScript /JS ({EVAL}) >>"
STARTS = "/OpenAction 5 0 R"
CODE = b"eval(unescape(a)) // " + b"soup and bread " * 20
RUNS = "<< /S /JavaScript /JS 6 0 R >>"
LOCKED = Encryption(3, b"secret").entry


def swallowed() -> bytes:
    """All objects stand in the data of one stream; the cross-reference table leads there."""
    inner = ordinary(STARTS, ACTION)
    return b"%%PDF-1.7\n99 0 obj\n<< /Length %d >>\nstream\n%b\nendstream\nendobj\n%%%%EOF" % (len(inner), inner)


def deflated(code: bytes, parameters: str, entries: str = "") -> bytes:
    return ordinary(
        STARTS,
        RUNS,
        b"<< /Length %d /Filter /FlateDecode /DecodeParms << %b >> %b >>\nstream\n%b\nendstream"
        % (len(zlib.compress(code)), parameters.encode(), entries.encode(), zlib.compress(code)),
        "12",
    )


def tiff(code: bytes, columns: int, sample_bytes: int = 1) -> bytes:
    """Differences to the sample before, row by row."""
    out = bytearray()
    for start in range(0, len(code), columns * sample_bytes):
        row, before = code[start : start + columns * sample_bytes], 0
        for at in range(0, len(row), sample_bytes):
            value = int.from_bytes(row[at : at + sample_bytes], "big")
            out += ((value - before) % 256**sample_bytes).to_bytes(sample_bytes, "big")
            before = value
    return bytes(out)


def xfa(xml: bytes) -> bytes:
    start = "<< /S /JavaScript /JS (start\\(\\)) >>"
    return ordinary("/AcroForm << /XFA [(template) 6 0 R] >> /OpenAction 5 0 R", start, stream(xml))


SCRIPT = '<{0}subform><{0}script contentType="application/x-javascript">eval(unescape(a))</{0}script></{0}subform>'

HIDDEN = {
    "objects inside a stream": swallowed(),
    "a megabyte before the name": ordinary(f"/Pad ({'x' * (1 << 20)}) {STARTS}", ACTION),
    "a comment before the stream": ordinary(
        STARTS, RUNS, b"<< /Length %d >> %% here\nstream\n%b\nendstream" % (len(CODE), CODE)
    ),
    "later definitions that are never used": ordinary(STARTS, RUNS, stream(CODE)) + b"6 0 obj\n(soup)\nendobj\n" * 20,
    "a header without a version": ordinary(STARTS, ACTION).replace(b"%PDF-1.7", b"%PDF 1.7"),
    "TIFF's predictor": deflated(tiff(CODE, 10), "/Predictor 2 /Columns 10"),
    "TIFF's predictor, two bytes a sample": deflated(
        tiff(CODE[:320], 10, 2), "/Predictor 2 /Columns 10 /BitsPerComponent 16"
    ),
    "a row that is cut short": deflated(b"\x02" + CODE, "/Predictor 12 /Columns 4000"),
    "a predictor that is an object": deflated(png_rows(CODE, 12, 1), "/Predictor 7 0 R /Columns 7 0 R"),
    "a form whose tags have a prefix": xfa(SCRIPT.format("t:").encode()),
    "a form in UTF-16": xfa(SCRIPT.format("").encode("utf-16")),
    "an encryption that is none": ordinary(
        "/OpenAction 9 0 R", object_stream({9: RUNS.replace("6", "10"), 10: f"({EVAL})"})
    )
    + f"trailer\n<< /Encrypt {LOCKED} >>\n".encode("latin-1"),
    "an encryption that opens and is none": ordinary(STARTS, RUNS, stream(CODE))
    + f"trailer\n<< /Encrypt {Encryption(4).entry} /ID [<{IDENTIFIER.hex()}>] >>\n".encode("latin-1"),
    "an encryption behind many trailers": encrypted(Encryption(4), CODE).replace(
        b"trailer", b"trailer << /Size 9 >>\n" * 70 + b"trailer"
    ),
    "an encryption behind another identifier": encrypted(Encryption(3), CODE).replace(
        b"1 0 obj", b"trailer << /ID [<00> <00>] >>\n1 0 obj", 1
    ),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_what_is_hidden_is_found(case: str) -> None:
    report = scan(HIDDEN[case])
    assert report.verdict is Verdict.MALICIOUS, names(report)


def test_a_cipher_that_a_stream_names_itself_is_used() -> None:
    encryption = Encryption(4)
    sealed = encryption.seal(zlib.compress(CODE), 3)
    entries = b"/Filter [/Crypt /FlateDecode] /DecodeParms [<< /Name /StdCF >> null]"
    hidden = b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(sealed), entries, sealed)
    plain = encrypted(encryption, CODE)
    start, end = plain.index(b"3 0 obj\n") + 8, plain.index(b"endobj\n4 0 obj")
    assert scan(plain[:start] + hidden + plain[end:]).verdict is Verdict.MALICIOUS


@pytest.mark.parametrize("revision", [2, 3, 4, 5, 6])
def test_configured_passwords_are_tried(revision: int) -> None:
    data = encrypted(Encryption(revision, b"secret"), CODE)
    report = scan(data, pdf=PdfOptions(passwords=["soup", "secret"]))
    assert report.verdict is Verdict.MALICIOUS
    assert "encrypted:pdf" not in names(report)
    assert "encrypted:pdf" in names(scan(data, pdf=PdfOptions(passwords=["soup", "Secret"])))


def test_the_time_is_asked_between_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    budget = Budget(time.monotonic() + 60)

    def refuse(dictionary: object, identifier: bytes, password: str) -> None:
        asked.append(password)
        budget.deadline = 0.0
        raise Locked

    monkeypatch.setattr(unpacker, "Cipher", refuse)
    data = encrypted(Encryption(6, b"secret"), CODE)
    assert scan(data, pdf=PdfOptions(passwords=["soup", "bread"]), budget=budget).verdict is Verdict.ERROR
    assert asked == [""]


def test_passwords_are_counted() -> None:
    assert PdfOptions(passwords=["a"] * 32)
    with pytest.raises(ValueError, match="passwords"):
        PdfOptions(passwords=["a"] * 33)


def test_a_script_in_the_coding_of_a_picture_is_suspicious() -> None:
    data = ordinary(STARTS, RUNS, stream(b"\xff\xd8" + bytes(50), "/Filter /DCTDecode", ()))
    assert telling(scan(data)) == {(FindingKind.SUSPICIOUS, "pdf:script-as-picture")}


@pytest.mark.parametrize(
    "parameters", ["/Predictor 2 /BitsPerComponent 4", "/Predictor 12 /Columns 1048575 /Colors 9"]
)
def test_a_predictor_that_is_not_undone_is_unsupported(parameters: str) -> None:
    assert (FindingKind.UNSUPPORTED, "unsupported:pdf-filter-unknown") in telling(scan(deflated(CODE, parameters)))


def test_codes_of_lzw_may_grow_late() -> None:
    content = b"".join(b"%d soup " % number for number in range(600))
    parameters: Value = {"EarlyChange": 1}
    budget = Budget(time.monotonic() + 20)
    assert (
        decode(ENCODERS["LZWDecode"](content), ["LZWDecode"], [parameters], budget, Effort(), 1 << 20).data == content
    )
    late = decode(_late_lzw(content), ["LZWDecode"], [{"EarlyChange": 0}], budget, Effort(), 1 << 20).data
    assert late == content


def _late_lzw(content: bytes) -> bytes:
    """Each byte its own code, widths growing as the reader's table does."""
    bits, count = "100000000", 258
    for number, byte in enumerate(content):
        bits += f"{byte:0{min(max(count.bit_length(), 9), 12)}b}"
        count = min(count + (number > 0), 4096)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_definitions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ordinary(STARTS, RUNS, "(soup\\(\\))") + b"6 0 obj\n(bread\\(\\))\nendobj\n" * 2
    monkeypatch.setattr(document, "DEFINITIONS_MAX", 3)
    assert document.DEFINITIONS_LIMIT not in names(scan(data))
    monkeypatch.setattr(document, "DEFINITIONS_MAX", 2)
    assert document.DEFINITIONS_LIMIT in names(scan(data))


def test_streams_inside_streams_end_at_their_limit() -> None:
    body = b""
    for _ in range(300):
        body = b"1 0 obj <</Length %d/Filter/FlateDecode>>stream\n%bendstream\n" % (len(body), body)
        body += zlib.compress(bytes(1000)) * 20
    started = time.process_time()
    assert document.OBJECTS_LIMIT in names(scan(b"%PDF-1.7\n" + body))
    assert is_within(time.process_time() - started, 1)


PAGE = b"q 0.24 0 0 0.24 72 720 cm /GS1 gs BT /F1 12 Tf (Soup) Tj ET Q\n"


def test_contents_of_pages_are_seen_together_and_files_alone() -> None:
    data = ordinary(
        "", stream(PAGE * 3), stream(PAGE + b"second"), stream(b"<html>soup</html>"), stream(b"MZ\x90\0" + PAGE)
    )
    found = members(data)
    assert found[("contents 1",)] == b"\n%\n".join([_text(), PAGE * 3, PAGE + b"second"])
    assert found[("stream 7",)] == b"<html>soup</html>"
    assert found[("stream 8",)].startswith(b"MZ\x90")
    assert len(found) == 4


def _text() -> bytes:
    return members(ordinary())[("stream 4",)]


@pytest.mark.parametrize("file", [zip_of({"soup.txt": PLAIN}), b"%PDF-1.7"])
def test_a_file_behind_contents_is_still_one(file: bytes) -> None:
    found = members(ordinary("", stream(PAGE + file), stream(PAGE)))
    assert found[("stream 5",)] == PAGE + file
    if file.startswith(b"PK"):
        assert found[("stream 5", "soup.txt")] == PLAIN


def test_contents_are_closed_at_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ordinary("", *[stream(PAGE)] * 5)
    monkeypatch.setattr(contents, "JOINED_BYTES", len(_text()) + len(PAGE))
    assert {trail for trail in members(data) if trail} == {("contents 1",), ("contents 2",), ("contents 3",)}
    monkeypatch.setattr(contents, "JOINED_BYTES", len(_text()) + len(PAGE) + 1)
    assert ("contents 3",) not in members(data)


def test_a_plain_stream_whose_length_lies_is_read_to_its_end() -> None:
    packed = zlib.compress(CODE)
    for length in (len(packed) - 9, len(packed) + 9, 0, 10**9):
        lies = b"<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (length, packed)
        assert members(ordinary("", lies))[("stream 5",)] == CODE, length


def test_text_is_what_a_page_is_written_in() -> None:
    assert TEXT
    assert not contents.is_contents(b"echo off\x00 " * 9)
    assert not contents.is_contents(b"<html> soup and bread and soup and bread")
    assert contents.is_contents(b"1 0 0 1 72 720 cm BT ET")


def trailer_in_stream(encryption: Encryption) -> bytes:
    """An encrypted file whose cross-reference table and trailer stand in the data of a stream."""
    data = encrypted(encryption, CODE)
    head, _, tail = data.partition(b"xref\n")
    table = b"xref\n" + tail.partition(b"startxref")[0]
    return head + b"9 0 obj\n" + stream(table, "", ()) + b"\nendobj\nstartxref\n%d\n%%%%EOF\n" % (len(head) + 40)


def test_a_trailer_inside_a_stream_names_the_encryption() -> None:
    assert scan(trailer_in_stream(Encryption(3))).verdict is Verdict.MALICIOUS
    assert "encrypted:pdf" in names(scan(trailer_in_stream(Encryption(3, b"secret"))))


def with_decoy(data: bytes, form: bytes) -> bytes:
    """Names a second encryption that opens, before and behind the true one."""
    entry = Encryption(2).entry.encode("latin-1")
    decoy = b"8 0 obj\n" + entry + b"\nendobj\n" + form
    return data.replace(b"1 0 obj", decoy + b"1 0 obj", 1) + form


@pytest.mark.parametrize(
    "form",
    [
        b"9 0 obj\n<< /Length 1 /Encrypt 8 0 R >>\nstream\nx\nendstream\nendobj\n",
        b"trailer << /Encrypt 8 0 R >>\n",
    ],
)
def test_a_second_encryption_hides_nothing(form: bytes) -> None:
    report = scan(with_decoy(encrypted(Encryption(3), CODE), form))
    assert report.verdict is Verdict.MALICIOUS
    assert "unsupported:pdf-encryptions" in names(report)
    assert "unsupported:pdf-encryptions" not in names(scan(encrypted(Encryption(3), CODE)))
    assert "encrypted:pdf" in names(scan(with_decoy(encrypted(Encryption(3, b"secret"), CODE), form)))


def test_encryptions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_decoy(encrypted(Encryption(3), CODE), b"trailer << /Encrypt 8 0 R >>\n")
    monkeypatch.setattr(unpacker, "_ENCRYPTIONS_MAX", 2)
    assert unpacker.ENCRYPTIONS_LIMIT not in names(scan(data))
    monkeypatch.setattr(unpacker, "_ENCRYPTIONS_MAX", 1)
    assert unpacker.ENCRYPTIONS_LIMIT in names(scan(data))


def printable(encryption: Encryption, command: bytes) -> tuple[int, bytes]:
    """An object's number, and ciphertext that reads as text, of what ends with the command."""
    for number in range(10, 5000):
        stream_of_keys = encryption.seal(bytes(12 + len(command)), number)
        sealed = b"A" * 12 + bytes(a ^ b for a, b in zip(stream_of_keys[12:], command, strict=True))
        if all(32 <= byte < 127 for byte in sealed):
            return number, sealed
    raise AssertionError("no such number")


def test_ciphertext_that_reads_as_text_is_decrypted() -> None:
    encryption = Encryption(2)
    number, sealed = printable(encryption, b" cmd ")
    action = b"%d 0 obj\n<< /S /Launch /F <%b> >>\nendobj\n" % (number, sealed.hex().encode())
    data = encrypted(encryption, b"soup").replace(b"xref\n", action + b"xref\n", 1)
    assert "pdf:launch-command" in names(scan(data))


@pytest.mark.parametrize(("mark", "at"), [(b"ustar", 257), (b"CD001", 0x8001)])
def test_what_bears_the_mark_of_a_file_is_no_contents(mark: bytes, at: int) -> None:
    text = (PAGE * (at // len(PAGE) + 1))[:at]
    assert not contents.is_contents(text + mark + PAGE)
    assert contents.is_contents(text + b" " + mark + PAGE)


def test_contents_are_seen_when_a_limit_is_reached() -> None:
    data = ordinary("", stream(PAGE + b"mark"), stream(bytes(9 << 20)))
    seen = Seen()
    report = scan(data, seen=seen, budget=Budget(time.monotonic() + 60, bytes_left=4 << 20))
    assert "archive.max_unpacked_bytes" in names(report)
    assert any(b"mark" in content for trail, content in seen.samples.items() if trail)


def test_contents_are_seen_before_a_large_stream_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = stream(PAGE + b"mark" * 50, "", ("ASCIIHexDecode",))
    monkeypatch.setattr(unpacker, "_SLOW_BYTES", len(PAGE) * 2 + 402)
    assert ("stream 4",) not in members(ordinary("", large))
    monkeypatch.setattr(unpacker, "_SLOW_BYTES", len(PAGE) * 2 + 401)
    assert ("stream 4",) in members(ordinary("", large))


def test_a_long_chain_that_many_streams_name_costs_little() -> None:
    several = b"".join(
        b"%d 0 obj<</Filter 9 0 R/DecodeParms 8 0 R>>stream\nx\nendstream\n" % n for n in range(20, 420)
    )
    pairs = b"".join(b"/A%d 1 " % number for number in range(20_000))
    data = b"%PDF-1.4\n9 0 obj[" + b"1 " * 60_000 + b"]endobj\n8 0 obj<<" + pairs + b">>endobj\n" + several
    started = time.process_time()
    assert CHAIN_LIMIT in names(scan(data))
    assert is_within(time.process_time() - started, 1)
