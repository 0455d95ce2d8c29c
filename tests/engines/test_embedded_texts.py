"""Text that hides files from a reader of plain runs: UTF-16, folded lines, uuencode; and what OpenPGP seals."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random

import pytest

from engines.embedded import EmbeddedOptions
from icapd.scan.model import Budget
from tests.engines.embedded_probe import FILE, is_cheap, members, names, unpack

PACKED = base64.b64encode(FILE)
LINES = [PACKED[at : at + 72] for at in range(0, len(PACKED), 72)]
SCRIPT = "<html><script>var f = atob('" + PACKED.decode() + "')</script></html>"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_text_in_utf_16_is_read_as_utf_8(encoding: str, mark: str) -> None:
    assert members(unpack((mark + SCRIPT).encode(encoding))) == {"utf-8": SCRIPT.encode()}


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="f"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    + base64.encodebytes(FILE)
    + b"\r\n--B--\r\n"
)
UUENCODED = (
    b"begin 644 soup.exe\n"
    + b"".join(binascii.b2a_uu(FILE[at : at + 45]) for at in range(0, len(FILE), 45))
    + b"`\nend\n"
)


@pytest.mark.parametrize("before", [b"\xff\xfe\r\n", b"\xfe\xff\r\n"])
@pytest.mark.parametrize(
    "body",
    [
        FORM,
        b'Mime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="B"\r\n\r\n' + FORM,
        UUENCODED,
        b"-----BEGIN PKCS7-----\n" + base64.encodebytes(FILE),
    ],
)
def test_a_mark_of_utf_16_hides_nothing_from_who_reads_past_it(before: bytes, body: bytes) -> None:
    assert FILE in [data[: len(FILE)] for data in members(unpack(before + body)).values()]


def test_a_preamble_in_utf_16_hides_no_form() -> None:
    assert FILE in members(unpack(("soup" * 16).encode("utf-16-le") + b"\r\n" + FORM)).values()


def test_an_odd_byte_and_half_a_character_do_no_harm() -> None:
    found = members(unpack(("\ufeff" + SCRIPT).encode("utf-16-le") + b"\x00\xd8\x41"))
    assert found["utf-8"].startswith(SCRIPT.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01" * 200,
        ("a" * 31).encode("utf-16-le"),
        b"a\x00" * 31 + b"\x01\x01" + b"a\x00" * 100,
    ],
)
def test_what_is_no_utf_16_is_left_alone(data: bytes) -> None:
    assert unpack(data) == []


@pytest.mark.parametrize(
    "body",
    [
        b"BEGIN:VCALENDAR\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:\r\n "
        + b"\r\n ".join(LINES)
        + b"\r\nEND:VCALENDAR\r\n",
        b"dn: cn=soup\nphoto:: " + b"\n ".join(LINES) + b"\n",
        b"<?xml version='1.0'?><plist><data>\n\t\t" + b"\n\t\t".join(LINES) + b"\n\t</data></plist>",
        b"<?xml version='1.0'?><a:b><a:data>" + b"\n      ".join(LINES) + b"\n     </a:data></a:b>",
    ],
)
def test_base64_in_folded_lines(body: bytes) -> None:
    assert list(members(unpack(body)).values()) == [FILE]


@pytest.mark.parametrize(
    "strings",
    [
        b" +\n  ".join(b'"' + line + b'"' for line in LINES),
        b"[" + b",".join(b"'" + line + b"'" for line in LINES) + b"].join('')",
        b"`\n   " + b"\n   ".join(LINES) + b"`",
    ],
)
def test_base64_that_a_script_puts_together(strings: bytes) -> None:
    body = b"<html><script>var f = atob(" + strings + b"); save(f)</script></html>"
    assert list(members(unpack(body)).values()) == [FILE]
    assert unpack(body.replace(b"atob", b"show")) == []


def test_a_list_of_words_is_no_file() -> None:
    words = b",".join([b'"soup"', b'"bread"'] * 400)
    assert unpack(b"<html><script>atob(x); var menu = [" + words + b"]</script></html>") == []


@pytest.mark.parametrize(("size", "count"), [(511, 0), (512, 1)])
def test_folded_base64_below_the_size_and_at_it(size: int, count: int) -> None:
    body = b"photo:: " + b"\n ".join([*(b"A" * 64 for _ in range(7)), b"A" * (size - 7 * 66)]) + b"\n"
    assert len(members(unpack(body, EmbeddedOptions(min_base64_bytes=512)))) == count


@pytest.mark.parametrize(
    "title",
    [
        *(b"EOF\n", b"-----BEGIN CERTIFICATE-----\r\n", b"-----BEGIN PKCS7-----\n", b"a\nbc\n"),
        *(
            b"A" * length + end
            for length in (31, 32, 33, 34, 35, 36, 37, 70, 73, 75, 80, 99)
            for end in (b"\n", b"\r\n")
        ),
        *(b"EOF\n" + b"A" * length + b"\n" for length in (33, 36)),
    ],
)
def test_lines_before_base64_do_not_shift_it(title: bytes) -> None:
    body = b"#!/bin/sh\ncat <<" + title + b"\n".join(LINES) + b"\nEOF\n"
    assert FILE in [data[: len(FILE)] for data in members(unpack(body)).values()]


def test_base64_whose_characters_json_spells_by_number() -> None:
    packed = base64.b64encode(b"MZ" + b"\xfb\xef\xbe\xff" * 300)
    spelt = packed.replace(b"+", b"\\u002B").replace(b"/", b"\\u002f").replace(b"=", b"\\u003D")
    assert list(members(unpack(b'{"file": "' + spelt + b'"}')).values()) == [base64.b64decode(packed)]


@pytest.mark.parametrize("before", [b"", b"Hello,\nhere it is:\n\n"])
def test_a_uuencoded_file_in_plain_text(before: bytes) -> None:
    lines = b"".join(binascii.b2a_uu(FILE[at : at + 45]) for at in range(0, len(FILE), 45))
    assert members(unpack(before + b"begin 644 soup.exe\n" + lines + b"`\nend\n")) == {"soup.exe": FILE}


def test_what_only_begins_is_no_file() -> None:
    assert unpack(b"We begin 2024 with soup. Let us begin 644 of them." * 20) == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"-----BEGIN PGP MESSAGE-----\n\njA0ECQMCabcdefgh\n", "encrypted:pgp"),
        (b"-----BEGIN PGP MESSAGE-----\r\nVersion: 1\r\n\r\nhQEMA1234567\r\n", "encrypted:pgp"),
        (b"-----BEGIN PGP MESSAGE-----\n\nowGbwMvMwMH4\n", "not-opened:pgp"),
        (b"\x8c\x0d\x04\x09\x03\x02" + bytes(8) + b"\x60" + bytes(40), "encrypted:pgp"),
        (b"\x85\x01\x0c\x03" + bytes(8) + b"\x01" + bytes(200), "encrypted:pgp"),
    ],
)
def test_what_is_sealed_is_said_to_be(data: bytes, name: str) -> None:
    assert names(unpack(data)) == [name]


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nsoup\n",
        b"\x8c\x0d\x04\x20\x03\x02" + bytes(40),
        b"\x85\x01\x0c\x04" + bytes(200),
        b"\x85\x01\x0c\x03" + bytes(7),
        b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00" + bytes(200),
    ],
)
def test_what_only_begins_like_it_is_not(data: bytes) -> None:
    assert unpack(data) == []


HOSTILE: dict[str, Callable[[], bytes]] = {
    "folded words": lambda: b"\n " + b"A" * 32 + b"\n A" * 2_000_000,
    "folded lines": lambda: (b"\n" + b" " * 64 + b"A" * 33) * 40_000,
    "one folded line": lambda: b"text\n " + b"A" * 4_000_000 + b"\n !",
    "joined words": lambda: b"<html>atob " + b'"AAAAAAAA"' + b',"A"' * 2_000_000,
    "strings": lambda: b"<html>atob " + b'"AAAAAAAA",' * 400_000,
    "six strings": lambda: b"<html>atob " + (b'"AAAAAAAA",' * 6 + b"1,") * 60_000,
    "long strings": lambda: b"<html>atob " + (b'"' + b"A" * 1025) * 4_000,
    "joins": lambda: b"<html>atob " + b'"AAAAAAAA"' + b" " * 64 + b"+" * 1_000_000,
    "begins": lambda: b"begin 644 a\n" * 300_000,
    "spelt": lambda: b'{"a": "' + b"\\u002b" * 600_000 + b'"}',
    "short lines": lambda: b"text. " + b"A\n" * 2_000_000,
    "wide": lambda: b"\xff\xfe" + b"<\x00a\x00>\x00" * 600_000,
    "armour": lambda: b"-----BEGIN PGP MESSAGE-----\n" + b"a\n" * 2_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_costs_little(kind: str) -> None:
    assert is_cheap(HOSTILE[kind]())


@pytest.mark.parametrize("kind", ["folded words", "joined words"])
def test_many_short_pieces_take_no_memory_by_themselves(kind: str) -> None:
    """In a process of its own: what the matching of patterns takes is not counted by Python."""
    body = HOSTILE[kind]()
    command = [sys.executable, "-m", "tests.engines.bomb_scan"]
    done = subprocess.run(command, input=body, capture_output=True, check=True, timeout=120)
    report = json.loads(done.stdout)
    assert report["verdict"] == "CLEAN"
    assert report["grown_bytes"] < 8 * len(body)


@pytest.mark.parametrize("lines", [1025, 1026, 1027, 3000])
def test_pieces_are_put_together_however_many_they_are(lines: int) -> None:
    content = Random(lines).randbytes(lines * 9)
    packed = base64.b64encode(content)
    pieces = [packed[at : at + 12] for at in range(0, len(packed), 12)]
    folded = b"photo:: " + packed[:48] + b"\n " + b"\n ".join([packed[48:96], *pieces[8:]]) + b"\n"
    assert list(members(unpack(folded)).values()) == [content]
    joined = b"<html><script>atob(" + b"+".join(b'"' + piece + b'"' for piece in pieces) + b")</script></html>"
    assert list(members(unpack(joined)).values()) == [content]


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_cut_is_survived(kind: str) -> None:
    data = HOSTILE[kind]()[:4096]
    for cut in range(0, len(data), 7):
        unpack(data[:cut], budget=Budget(time.monotonic() + 20))
