"""Mail and multipart bodies: ordinary ones by the standard library's writer, and those that no writer makes."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from email.message import EmailMessage
from random import Random

import pytest

from engines.embedded import EmbeddedOptions, coded
from engines.embedded.coded import MAX_STEPS, from_base64, from_quoted_printable, from_uuencode
from engines.embedded.headers import read_headers
from engines.embedded.mail import MAX_LOOKS
from icapd.scan.model import Budget, Sample
from tests.engines.embedded_probe import FILE, IDENTIFIER, is_cheap, members, names, unpack
from tests.engines.samples import zip_of

HEAD = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: soup\r\nMIME-Version: 1.0\r\n"


def mail(attachment: bytes = FILE, name: str = "invoice.exe") -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "soup"
    message.set_content("plain soup\n")
    message.add_alternative("<html><body>soup = 1</body></html>", subtype="html")
    message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def multipart(*parts: bytes, boundary: bytes = b"B", kind: bytes = b"mixed", newline: bytes = b"\r\n") -> bytes:
    body = b"".join(b"--" + boundary + newline + part + newline for part in parts)
    head = b'Content-Type: multipart/%s; boundary="%s"\r\n' % (kind, boundary)
    return HEAD + head.replace(b"\r\n", newline) + newline + body + b"--" + boundary + b"--" + newline


def attached(encoding: bytes, data: bytes, name: bytes = b"a.exe") -> bytes:
    head = b'Content-Type: application/x-a; name="%s"\r\nContent-Transfer-Encoding: %s\r\n\r\n' % (name, encoding)
    return head + data


def test_every_part_is_a_member_decoded() -> None:
    found = members(unpack(mail()))
    assert found["invoice.exe"] == FILE
    assert found["part-2"].strip() == b"plain soup"
    assert b"<html>" in found["part-3"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_line_ends_of_both_kinds(newline: bytes) -> None:
    body = mail().replace(b"\r\n", b"\n").replace(b"\n", newline)
    assert members(unpack(body))["invoice.exe"] == FILE


def test_names_in_every_way_they_are_written() -> None:
    cases = {
        b'attachment; filename="r\\"echnung.exe"': 'r"echnung.exe',
        b"attachment; filename=plain.exe": "plain.exe",
        b"attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.exe": "résumé.exe",
        b"attachment; filename*0=in; filename*1=voice.exe": "invoice.exe",
        b"attachment; filename*0*=iso-8859-1''r%E9; filename*1=sume.exe": "résume.exe",
        b'attachment; filename="=?utf-8?B?csOpc3Vtw6kuZXhl?="': "résumé.exe",
        b'attachment; filename="=?utf-8?Q?r=C3=A9?= =?utf-8?Q?sum=C3=A9.exe?="': "résumé.exe",
        b'attachment; filename="=?x-unknown?Q?a=E9?="': "aé",
        b'attachment;\r\n filename="folded.exe"': "folded.exe",
    }
    for value, name in cases.items():
        assert read_headers(b"Content-Disposition: " + value).name == name
    assert read_headers(b"Content-Location: http://a.example/dir/page.hta").name == "page.hta"


@pytest.mark.parametrize(
    "encoding",
    [
        *(b"base64 (packed)", b"(packed) base64", b"Base64;", b'"base64" x', b"(a) base64 ; b"),
        *(b'" base64 "', b"' base64'", b'"base64;"', b"(a (b) c) base64", b"(a \\) b) base64", b"(a \\( b) base64"),
        *(b"(" + b"a" * 20_000 + b") base64", b"(" * 200 + b")" * 200 + b" base64", b"base64 (open"),
        *(b"(a)(b) base64(c)", b"(a;b) base64", b"(a\r\n b) base64"),
    ],
)
def test_comments_and_marks_beside_an_encoding_change_nothing(encoding: bytes) -> None:
    assert members(unpack(multipart(attached(encoding, base64.encodebytes(FILE)))))["a.exe"] == FILE


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"base64", base64.encodebytes(FILE)),
        (b"BASE64", base64.b64encode(FILE)),
        (b"base64", b"\r\n!!" + base64.encodebytes(FILE[:30]) + b" \x00" + base64.encodebytes(FILE[30:])),
        (b"base64", base64.encodebytes(FILE[:31]) + base64.encodebytes(FILE[31:])),  # padding in the middle
        (b"quoted-printable", binascii.b2a_qp(FILE, istext=False)),
        (b"8bit", FILE),
        (b"", FILE),
        (b"x-nonsense", FILE),
        (
            b"x-uuencode",
            b"begin 644 a.exe\n"
            + b"".join(binascii.b2a_uu(FILE[n : n + 45]) for n in range(0, len(FILE), 45))
            + b"end\n",
        ),
    ],
)
def test_each_encoding_is_undone(encoding: bytes, packed: bytes) -> None:
    assert members(unpack(multipart(attached(encoding, packed))))["a.exe"] == FILE


def test_headers_that_contradict_each_other_give_every_reading() -> None:
    part = b"Content-Type: a/b\r\nContent-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    items = unpack(multipart(part + base64.b64encode(FILE)))
    assert FILE in [bytes(item.data) for item in items if isinstance(item, Sample)]
    body = (
        HEAD + b"Content-Type: multipart/mixed; boundary=wrong; boundary=B\r\n\r\n--B\r\n" + attached(b"8bit", FILE)
    )
    assert members(unpack(body))["a.exe"] == FILE
    unnamed = HEAD + b"Content-Type: multipart/mixed\r\n\r\n--B\r\n" + attached(b"8bit", FILE)
    assert members(unpack(unnamed))["a.exe"] == FILE


def test_parts_behind_the_last_boundary_are_read() -> None:
    body = multipart(attached(b"8bit", b"first", b"first")) + b"--B\r\n" + attached(b"8bit", FILE) + b"\r\n--B--\r\n"
    assert members(unpack(body)) == {"first": b"first", "a.exe": FILE}


def test_a_cut_message_gives_what_is_there() -> None:
    whole = mail()
    at = whole.index(b"TVo")
    assert members(unpack(whole[: at + 400]))["invoice.exe"].startswith(FILE[:250])
    for end in range(0, len(whole), 37):
        unpack(whole[:end])


def test_messages_inside_messages_are_members_to_be_opened() -> None:
    inner = b"Subject: x\r\n\r\nshort"
    part = b'Content-Type: message/rfc822; name="inner.eml"\r\n\r\n' + inner
    [member] = [item for item in unpack(multipart(part)) if isinstance(item, Sample)]
    assert (member.name, member.data, member.declared_type) == ("inner.eml", inner, "message/rfc822")
    assert members(unpack(inner, declared="message/rfc822")) == {"part-1": b"short"}
    assert names(unpack(multipart(b"Content-Type: message/partial\r\n\r\nx"))) == ["unsupported:mail-partial"]


def test_a_mailbox_and_a_web_archive() -> None:
    mbox = b"From a@example.org Mon\n" + mail() + b"\n\nFrom b@example.org Tue\n" + mail(name="second.exe")
    assert {"invoice.exe", "second.exe"} <= members(unpack(mbox)).keys()
    mht = b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=B\r\n\r\n--B\r\n"
    mht += b"Content-Location: file:///C:/a.mso\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(FILE)
    assert members(unpack(mht)) == {"a.mso": FILE}


def test_a_form_is_split_into_its_fields() -> None:
    parts = [
        b'Content-Disposition: form-data; name="comment"\r\n\r\nhello',
        b'content-disposition: form-data; name="file"; filename="a.exe"\r\nContent-Type: image/png\r\n\r\n' + FILE,
        b'Content-Disposition: form-data; name="none"; filename=""\r\n\r\n',
    ]
    body = b"".join(b"--Xy\r\n" + part + b"\r\n" for part in parts) + b"--Xy--\r\n"
    assert members(unpack(body)) == {"comment": b"hello", "a.exe": FILE}
    assert members(unpack(b"a preamble\r\n" + body)) == {"comment": b"hello", "a.exe": FILE}
    assert members(unpack(bytes(40_000) + b"\r\n" + body)) == {"comment": b"hello", "a.exe": FILE}
    swapped = body.replace(b"Content-Disposition", b"Content-Type: a/b\r\nContent-Disposition")
    assert members(unpack(swapped)) == {"comment": b"hello", "a.exe": FILE}


def test_a_mail_in_a_form_is_a_member_that_is_opened_in_its_turn() -> None:
    part = b'Content-Disposition: form-data; name="f"; filename="m.eml"\r\n\r\n' + mail(zip_of({"a": b"b"}))
    found = members(unpack(b"--B\r\n" + part + b"\r\n--B--\r\n"))
    assert "invoice.exe" in members(unpack(found["m.eml"]))


def test_files_in_the_text_of_a_part() -> None:
    packed = b"".join(binascii.b2a_uu(FILE[n : n + 45]) for n in range(0, len(FILE), 45))
    yenc = bytes((byte + 42) % 256 for byte in FILE)
    for mark in (b"=", b"\x00", b"\r", b"\n"):
        yenc = yenc.replace(mark, b"=" + bytes([(mark[0] + 64) % 256])) if mark == b"=" else yenc
    for raw in (0, 10, 13):
        yenc = yenc.replace(bytes([raw]), b"=" + bytes([raw + 64]))
    text = b"see\nbegin 644 one.exe\n" + packed + b"`\nend\nand\n"
    text += b"begin-base64 644 two.exe\n" + base64.encodebytes(FILE) + b"====\n"
    text += b"=ybegin line=128 size=2050 name=three.exe\n" + yenc + b"\n=yend size=2050\n"
    found = members(unpack(HEAD + b"\r\n" + text))
    assert (found["one.exe"], found["two.exe"], found["three.exe"]) == (FILE, FILE, FILE)


@pytest.mark.parametrize(("parts", "expected"), [(5, []), (6, ["embedded.max_parts"])])
def test_parts_at_the_limit_and_past_it(parts: int, expected: list[str]) -> None:
    body = multipart(*[attached(b"8bit", b"x", b"%d" % n) for n in range(parts)])
    items = unpack(body, EmbeddedOptions(max_parts=5))
    assert names(items) == expected
    assert len(members(items)) == 5


@pytest.mark.parametrize(("levels", "expected"), [(4, []), (5, ["embedded.max_nesting"])])
def test_nesting_at_the_limit_and_past_it(levels: int, expected: list[str]) -> None:
    body = attached(b"8bit", FILE)
    for level in range(levels):
        body = multipart(body, boundary=b"B%d" % level).removeprefix(HEAD)
    items = unpack(HEAD + body, EmbeddedOptions(max_nesting=4))
    assert names(items) == expected
    assert (FILE in members(items).values()) is not bool(expected)


@pytest.mark.parametrize(("length", "expected"), [(1024, []), (1025, ["embedded.max_header_bytes"])])
def test_headers_at_the_limit_and_past_it(length: int, expected: list[str]) -> None:
    filling = length - len(HEAD) - len(b"X: ")
    body = HEAD + b"X: " + b"y" * filling + b"\r\n\r\nbody"
    items = unpack(body, EmbeddedOptions(max_header_bytes=1024))
    assert names(items) == expected
    assert b"body" in next(iter(members(items).values()))


@pytest.mark.parametrize(("length", "expected"), [(16, []), (17, ["embedded.max_name_bytes"])])
def test_a_name_at_the_limit_and_past_it(length: int, expected: list[str]) -> None:
    items = unpack(multipart(attached(b"8bit", FILE, b"n" * length)), EmbeddedOptions(max_name_bytes=16))
    assert names(items) == expected
    assert members(items) == {"n" * length: FILE}


def test_members_and_bytes_come_out_of_the_budget() -> None:
    body = multipart(attached(b"8bit", b"x" * 100, b"a"), attached(b"8bit", b"y" * 100, b"b"))
    assert names(unpack(body, budget=Budget(time.monotonic() + 20, members_left=1))) == ["archive.max_members"]
    assert names(unpack(body, budget=Budget(time.monotonic() + 20, bytes_left=199))) == ["archive.max_unpacked_bytes"]


def nested_readings() -> bytes:
    """Every part declares four boundaries, each of which gives it other parts."""
    head = b"Content-Type: multipart/mixed; boundary=A; boundary=B; boundary=C; boundary=D\r\n\r\n"
    return HEAD + head + (b"--A\r\n" + head + b"--B\r\n" + head + b"--C\r\n" + head + b"--D\r\n" + head) * 4000


HOSTILE: dict[str, Callable[[], bytes]] = {
    "readings": nested_readings,
    "boundaries": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + b"--B\r\n" * 1_000_000,
    "almost boundaries": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=" + b"-" * 60 + b"\r\n\r\n" + b"-" * 8_000_000
    ),
    "paddings": lambda: HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QQ=" * 2_000_000,
    "lines": lambda: HEAD + b"Content-Transfer-Encoding: x-uuencode\r\n\r\n" + b"!\n" * (MAX_STEPS + 1),
    "escapes": lambda: HEAD + b"\r\n=ybegin line=1 size=1 name=a\r\n" + b"=}" * (MAX_STEPS + 1),
    "begins": lambda: HEAD + b"\r\n" + b"begin 644 a\n" * 500_000,
    "parameters": lambda: HEAD + b"Content-Type: a/b" + b';a="' * 15_000 + b"\r\n\r\nx",
    "words": lambda: HEAD + b"Content-Disposition: a; filename=" + b"=?utf-8?Q?" * 6000 + b"\r\n\r\nx",
    "comments": lambda: HEAD + b"Content-Transfer-Encoding: " + b"()" * 30_000 + b"\r\n\r\nx",
    "open comments": lambda: HEAD + b"Content-Transfer-Encoding: " + b"(" * 60_000 + b"\r\n\r\nx",
    "folds": lambda: HEAD + b"Content-Type: a" + b"\r\n " * 20_000 + b"\r\n\r\nx",
    "messages": lambda: b"From a\n" + b"\n\nFrom a\n" * 1_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_mail_costs_little(kind: str) -> None:
    assert is_cheap(HOSTILE[kind]())


def test_too_many_lines_or_escapes_are_a_limit() -> None:
    for kind in ("lines", "escapes"):
        assert names(unpack(HOSTILE[kind]())) == ["embedded.max_encoded_lines"]


def test_base64_never_fails() -> None:
    random = Random(7)
    for _ in range(2000):
        from_base64(bytes(random.choices(b"AQz09+/=-_ \r\n!\x00\xff", k=random.randrange(40))))


def test_text_that_only_speaks_of_mail_is_left_alone() -> None:
    assert unpack(b"Notes on mail.\nContent-Type: is a header.\n") == []
    assert unpack(b"-- \nform-data is a word\n" * 100) == []


def test_a_message_that_begins_like_a_style_sheet_is_one() -> None:
    body = b"@media: soup\r\n" + mail()
    assert IDENTIFIER.identify(Sample(body)).media_type == "text/css"
    assert members(unpack(body))["invoice.exe"] == FILE


@pytest.mark.parametrize("preamble", [b"function a(){}\r\n", b"GIF89a\r\n", b"words\r\n" * 100])
def test_a_form_behind_a_preamble_is_split(preamble: bytes) -> None:
    form = b'--B\r\nContent-Disposition: form-data; name="a"; filename="b.exe"\r\n\r\n' + FILE + b"\r\n--B--\r\n"
    assert members(unpack(preamble + form)) == {"b.exe": FILE}


def test_base64_in_a_script_that_holds_a_boundary_is_found() -> None:
    body = b"function a(){}/*\n--B\nContent-Type: a/b\n\nc\n--B--\n*/ a('" + base64.b64encode(FILE) + b"')"
    assert FILE in members(unpack(body)).values()


@pytest.mark.parametrize("seed", range(20))
def test_windows_change_nothing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = Random(seed)
    packed = bytes(random.choices(b"QUJD+/=-_ \n", k=300))
    printed = binascii.b2a_qp(random.randbytes(200)) + bytes(random.choices(b"=4 1A\n", k=200)) + b"\n=4"
    lines = b"".join(binascii.b2a_uu(random.randbytes(random.randrange(46))) for _ in range(20))
    decoded = from_base64(packed), from_quoted_printable(printed), from_uuencode(lines)
    monkeypatch.setattr(coded, "WINDOW_BYTES", random.randrange(80, 200))
    assert (from_base64(packed), from_quoted_printable(printed), from_uuencode(lines)) == decoded


def test_places_that_look_like_boundaries_at_the_limit_and_past_it() -> None:
    def body(count: int) -> bytes:
        return HEAD + b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + b"--Bx\n" * count

    assert names(unpack(body(MAX_LOOKS))) == []
    assert names(unpack(body(MAX_LOOKS + 1))) == ["embedded.max_boundaries"]
