"""Access lines as JSON and as text."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest

from icapd.observe.access import AccessLine, AccessLog

LINE = AccessLine(
    time=1700000000.5,
    id="0badcafe-1",
    peer="127.0.0.1",
    client="192.0.2.7",
    user="alice",
    service="/respmod",
    method="RESPMOD",
    status=200,
    http_method="GET",
    url="http://site.example/page",
    http_status=200,
    media_type="text/html",
    real_type="text/html",
    body_bytes=1234,
    sha256="ab" * 32,
    verdict="MALICIOUS",
    action="block",
    rule="malicious",
    findings=["One", "Two"],
    cache="miss",
    preview=None,
    dripped_bytes=0,
    scan_ms=1.25,
    total_ms=2.5,
    error="",
    outcome="malicious",
    samples=["4111****"],
)
TEXT = (
    b"1700000000.500 2 192.0.2.7 RESPMOD/200 /respmod 1234 GET http://site.example/page alice MALICIOUS block "
    b"malicious One,Two miss 0badcafe-1 malicious\n"
)
HOSTILE = 'a b"c\\d\te\nf\rg\x00h\x1bi\u2028j\u00e9k'


def log(form: Literal["json", "text"], *lines: AccessLine) -> bytes:
    written: list[bytes] = []
    access = AccessLog(written.append, form)
    for line in lines:
        access.add(line)
    access.flush()
    return b"".join(written)


def changed(**fields: Any) -> AccessLine:
    return msgspec.structs.replace(LINE, **fields)


def test_json_has_every_field_by_its_name() -> None:
    line = log("json", LINE)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {name: getattr(LINE, name) for name in AccessLine.__struct_fields__}


def test_text_has_a_fixed_order() -> None:
    assert log("text", LINE) == TEXT


def test_empty_words_of_text_are_dashes() -> None:
    fields = {
        "client": "",
        "peer": "",
        "user": "",
        "url": "",
        "verdict": "",
        "action": "",
        "rule": "",
        "findings": [],
    }
    words = log("text", changed(**fields)).split(b" ")
    assert len(words) == len(TEXT.split(b" "))
    assert [words[index] for index in (2, 7, 8, 9, 10, 11, 12)] == [b"-"] * 7
    assert log("text", changed(client="")).split(b" ")[2] == b"127.0.0.1"


@pytest.mark.parametrize("field", ["client", "user", "service", "http_method", "url", "rule", "id"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_value_can_begin_a_line_or_a_word_of_its_own(form: Literal["json", "text"], field: str) -> None:
    lines = log(form, changed(**{field: HOSTILE}), LINE).splitlines(keepends=True)
    assert len(lines) == 2
    assert lines[1] == log(form, LINE)
    if form == "json":
        assert json.loads(lines[0])[field] == HOSTILE
    else:
        assert len(lines[0].split(b" ")) == len(TEXT.split(b" "))
        assert HOSTILE.encode() not in lines[0]
        escaped = rb"a\x20b\x22c\x5cd\x09e\x0af\x0dg\x00h\x1bi\x2028j" + "\u00e9k".encode()
        assert escaped in lines[0]


def test_findings_are_escaped_as_well() -> None:
    line = log("text", changed(findings=["a b", "c\nd"]))
    assert rb"a\x20b,c\x0ad" in line


def test_lines_are_handed_on_in_batches() -> None:
    written: list[bytes] = []
    access = AccessLog(written.append, "json")
    one = log("json", LINE)
    in_batch = 64 * 1024 // len(one)
    for _ in range(in_batch):
        access.add(LINE)
    assert written == []
    access.add(LINE)
    assert written == [one * (in_batch + 1)]
    access.flush()
    access.add(LINE)
    access.flush()
    assert written == [one * (in_batch + 1), one]
