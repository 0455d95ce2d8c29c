"""Numbers, heads and lines that have broken other ICAP and HTTP parsers: each refused, or shown to be harmless."""

from __future__ import annotations

import pytest

from icapd.icap import BodyData, EndOfMessage, RequestHead
from tests.icap.feeding import Broke, outcome
from tests.icap.wire import LAST, chunk, icap, respmod

NOT_A_SIZE = [
    b"",
    b"-1",
    b"+5",
    b"0x5",
    b"5_0",
    b" 5",
    b"5 ",
    b"5\t",
    b"5h",
    b"g",
    b"5.0",
    b"5,5",
    b"\xb2",
    "٣".encode(),
    "５".encode(),
    b"\x005",
    b"5\x00",
    b"5\x0b",
    b"5\r",
    b"8000000000000000",
    b"FFFFFFFFFFFFFFFF",
    b"00000000000000005",
    b"7FFFFFFFFFFFFFFF0",
    b"1" * 100,
]


@pytest.mark.parametrize("size", NOT_A_SIZE)
@pytest.mark.parametrize("lines", [(), ("Preview: 10",)], ids=["body", "preview"])
def test_chunk_sizes_that_are_none(size: bytes, lines: tuple[str, ...]) -> None:
    assert outcome(respmod(*lines) + size + b"\r\nabcde\r\n" + LAST)[1:] == [Broke(400)]
    assert outcome(respmod(*lines) + chunk(b"abc") + size + b"\r\nabcde\r\n" + LAST)[1:] == [Broke(400)]


@pytest.mark.parametrize(
    "size", [b"7FFFFFFF", b"80000000", b"FFFFFFFF", b"100000000", b"4294967296", b"7FFFFFFFFFFFFFFF"]
)
def test_huge_chunk_sizes_are_only_a_promise(size: bytes) -> None:
    """Nothing is kept for bytes that have not come; what has come is handed on at once."""
    assert outcome(respmod() + size + b"\r\nabc")[1:] == [BodyData(b"abc")]


@pytest.mark.parametrize("size", [b"3", b"03", b"0000000000000003", b"000000000000000"])
def test_leading_zeros_are_digits(size: bytes) -> None:
    data = b"abc" if size.endswith(b"3") else b""
    rest = data + b"\r\n" + LAST if data else b"\r\n"
    events = [BodyData(data), EndOfMessage()] if data else [EndOfMessage()]
    assert outcome(respmod() + size + b"\r\n" + rest)[1:] == events


@pytest.mark.parametrize(
    "extension",
    [
        b";",
        b";;a",
        b"; =b",
        b"; a=",
        b"; a b",
        b"; a=b c",
        b'; a="b',
        b'; a="b"c',
        b'; a="\x00"',
        b'; a="b\nc"',
        b"; a\x00",
        b"; a\rb",
        b"; \xff",
        b"; a ",
        b"; ieof ",
        b" ieof",
        b",ieof",
    ],
)
def test_malformed_chunk_extensions(extension: bytes) -> None:
    assert outcome(respmod("Preview: 9") + b"0" + extension + b"\r\n\r\n")[1:] == [Broke(400)]


@pytest.mark.parametrize("end", [b"\n", b"\r\r\n", b"\n\r\n", b"x\r\n", b"\rx", b"0\r\n\r\n", b"d\r\n"])
def test_a_chunk_ends_with_crlf(end: bytes) -> None:
    assert outcome(respmod() + b"3\r\nabc" + end + LAST)[1:] == [Broke(400)]


@pytest.mark.parametrize("line", [b"3\n", b"3;a\n", b"3\r\r\n", b"\r\n3\r\n", b"\n"])
def test_a_chunk_line_ends_with_crlf(line: bytes) -> None:
    assert outcome(respmod() + line + b"abc\r\n" + LAST)[1:] == [Broke(400)]


@pytest.mark.parametrize(
    "trailers",
    [
        b"junk\r\n",
        b"X : y\r\n",
        b": y\r\n",
        b" X: y\r\n",
        b"X: \x00\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\rb\r\n",
        b"\xff: a\r\n",
    ],
)
def test_malformed_trailers(trailers: bytes) -> None:
    assert outcome(respmod() + b"0\r\n" + trailers + b"\r\n")[1:] == [Broke(400)]


BAD_LINES = [
    b"X\r\n",
    b"X : y\r\n",
    b"X\t: y\r\n",
    b": y\r\n",
    b"X y: z\r\n",
    b"X(y): z\r\n",
    b"X\xe9: z\r\n",
    b"X: a\x00b\r\n",
    b"X\x00: b\r\n",
    b"X: a\rb\r\n",
    b"X: a\nEncapsulated: req-body=0\r\n",
    b"X: a\n",
    b"X: a\n\r\n",
    b"X: a\x7f\r\n",
    b"X: a\x1b[31m\r\n",
    b"\x0bX: a\r\n",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_malformed_header_lines(line: bytes) -> None:
    start = b"OPTIONS /echo ICAP/1.0\r\n"
    assert outcome(start + b"A: b\r\n" + line + b"C: d\r\n\r\n") == [Broke(400)]


def test_a_folded_line_needs_a_line_to_continue() -> None:
    assert outcome(b"OPTIONS /echo ICAP/1.0\r\n X: a\r\n\r\n") == [Broke(400)]


def test_folding_cannot_hide_a_header() -> None:
    (head,) = outcome(icap("REQMOD", "X: a", " Encapsulated: req-body=0", "\tAllow: 204"))
    assert isinstance(head, RequestHead)
    assert not head.has_body
    assert not head.allow_204


def test_a_header_value_may_hold_any_other_byte() -> None:
    value = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
    (head,) = outcome(b"OPTIONS /echo ICAP/1.0\r\nX:\t" + value + b"\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert head.field(b"x") == value.strip(b" ")


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS",
        b"OPTIONS /echo",
        b"OPTIONS  /echo ICAP/1.0",
        b"OPTIONS /echo  ICAP/1.0",
        b"OPTIONS /echo ICAP/1.0 ",
        b" OPTIONS /echo ICAP/1.0",
        b"OPTIONS\t/echo\tICAP/1.0",
        b"OPTIONS /ec ho ICAP/1.0",
        b"OPTIONS /echo icap/1.0",
        b"OPTIONS /echo HTTP/1.1",
        b"OPTIONS /echo ICAP/1",
        b"OPTIONS /echo ICAP/1.",
        b"OPTIONS /echo ICAP/.1",
        b"OPTIONS /echo ICAP/1.0.0",
        b"OPTIONS /echo ICAP/+1.0",
        b"OPTIONS /echo ICAP/1.0x",
        b"OPTIONS /\xc3\xa9 ICAP/1.0",
        b"OPTIONS /\x00 ICAP/1.0",
        b"OPTI\x00NS /echo ICAP/1.0",
        b"(OPTIONS) /echo ICAP/1.0",
        b"OPTIONS /echo ICAP/1.0\nX: y",
        b"GET / HTTP/1.1",
        b"ICAP/1.0 200 OK",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_junk_for_a_request_line(line: bytes) -> None:
    assert outcome(line + b"\r\n\r\n") == [Broke(400)]


def test_a_bare_line_feed_ends_no_line() -> None:
    assert outcome(b"OPTIONS /echo ICAP/1.0\n\n") == [Broke(400)]
    assert outcome(b"OPTIONS /echo ICAP/1.0\nX: y\n\nREQMOD /a ICAP/1.0\r\n\r\n") == [Broke(400)]


def test_empty_lines_before_a_request_are_skipped() -> None:
    (head,) = outcome(b"\r\n\r\n\r\n" + icap("OPTIONS"))
    assert isinstance(head, RequestHead)


@pytest.mark.parametrize("value", ["", "-1", "+5", "0x5", "5_0", "5 0", "5,0", "5.0", "\xb2", "1e3", "9" * 16])
def test_preview_that_is_no_number(value: str) -> None:
    assert outcome(icap("RESPMOD", "Encapsulated: res-body=0", f"Preview: {value}")) == [Broke(400)]


@pytest.mark.parametrize("value", ["2040", "20", "x204", "204x", "204;q=1", "204 206", "'204'", "0204", ""])
def test_allow_that_only_looks_like_204(value: str) -> None:
    (head,) = outcome(icap("REQMOD", f"Allow: {value}"))
    assert isinstance(head, RequestHead)
    assert not head.allow_204


@pytest.mark.parametrize("value", ["204", "204,", ",204", "206 ,204", "206,\t204,trailers", "TRAILERS, 204"])
def test_allow_lists_with_204(value: str) -> None:
    (head,) = outcome(icap("REQMOD", f"Allow: {value}"))
    assert isinstance(head, RequestHead)
    assert head.allow_204
    assert head.allow_trailers is ("trailers" in value.lower())


def test_a_smuggled_request_stays_body() -> None:
    smuggled = icap("OPTIONS", path="/admin")
    seen = outcome(respmod() + chunk(smuggled) + LAST)
    assert seen[1:] == [BodyData(smuggled), EndOfMessage()]
