"""Every ceiling of `CodecLimits` and of the grammar: at it, and one past it, whole, byte by byte and in pieces."""

from __future__ import annotations

import msgspec
import pytest

from icapd.errors import PeerProtocolError
from icapd.icap import BodyData, CodecLimits, EndOfMessage, Reply, Wait
from icapd.icap.events import END_OF_MESSAGE, PREVIEW_END
from icapd.icap.head import (
    _KNOWN_LINES_MAX,
    _KNOWN_STEERING_MAX,
    _known_lines,
    _known_steering,
    parse_fields,
    steering_of,
)
from tests.icap.feeding import Broke
from tests.icap.playbook import NEXT_CYCLE, Playbook, holds, request, says
from tests.icap.wire import GET, ISTAG, LAST, OK, chunk, icap, reply_wire, respmod

ROOMY = CodecLimits()


def limits(**changes: int) -> CodecLimits:
    return msgspec.structs.replace(ROOMY, **changes)


def test_every_limit_is_tested_here() -> None:
    assert CodecLimits.__struct_fields__ == (
        "head_bytes",
        "http_head_bytes",
        "header_count",
        "chunk_line_bytes",
        "trailer_bytes",
        "discard_bytes",
    )


# head_bytes


@pytest.mark.parametrize("before", [b"", b"\r\n\r\n"], ids=["", "after empty lines"])
def test_icap_head_bytes(before: bytes) -> None:
    head = icap("OPTIONS", "X-Long: " + "a" * 300)
    at_limit = limits(head_bytes=len(head))
    (Playbook(at_limit) >> before + head << request("OPTIONS", "/echo")).run()
    past = icap("OPTIONS", "X-Long: " + "a" * 301)
    (Playbook(at_limit) >> before + past << Broke(400) << holds(lambda it: not it.must_close)).run()


def test_icap_head_bytes_without_an_end() -> None:
    at_limit = limits(head_bytes=500)
    begin = icap("OPTIONS", "X-Long: " + "a" * 600)
    (Playbook(at_limit) >> begin[:500] << Wait.NEED_DATA).run()
    (Playbook(at_limit) >> begin[:501] << Broke(400)).run()


def test_icap_head_bytes_hold_for_each_head_alone() -> None:
    head = icap("OPTIONS", "X-Long: " + "a" * 300)
    playbook = Playbook(limits(head_bytes=len(head))) >> head * 3
    for _ in range(3):
        playbook << request("OPTIONS", "/echo")
        playbook << says(Reply(200, ISTAG), reply_wire(b"200 OK", b"null-body=0")) << NEXT_CYCLE
    (playbook << Wait.NEED_DATA).run()


# http_head_bytes


def test_http_head_bytes_hold_for_each_head_alone() -> None:
    at_limit = limits(http_head_bytes=1000)
    line = b"X-Long: %b\r\n\r\n"
    starts = (GET.removesuffix(b"\r\n"), b"HTTP/1.1 200 OK\r\n")
    room = [1000 - len(start + line % b"") for start in starts]

    def message(past_in_request: int, past_in_response: int) -> bytes:
        heads = [
            start + line % (b"a" * (size + past))
            for start, size, past in zip(starts, room, (past_in_request, past_in_response), strict=True)
        ]
        return respmod(http_request=heads[0], http_response=heads[1], body="null-body")

    (Playbook(at_limit) >> message(0, 0) << request("RESPMOD", "/echo") << Wait.PAUSED).run()
    (Playbook(at_limit) >> message(1, 0) << Broke(400)).run()
    (Playbook(at_limit) >> message(0, 1) << Broke(400)).run()


def test_an_http_head_past_the_limit_is_refused_before_it_comes() -> None:
    (Playbook() >> icap("REQMOD", "Encapsulated: req-hdr=0, req-body=262144") << Wait.NEED_DATA).run()
    (Playbook() >> icap("REQMOD", "Encapsulated: req-hdr=0, req-body=262145") << Broke(400)).run()
    (Playbook() >> icap("REQMOD", "Encapsulated: req-hdr=0, req-body=9999999999") << Broke(400)).run()


# header_count


@pytest.mark.parametrize("extra", ["X: y", "X: y\r\n folded"])
def test_header_count(extra: str) -> None:
    lines = extra.count("\r\n") + 1
    at_limit = limits(header_count=10 * lines)
    (Playbook(at_limit) >> icap("OPTIONS", *[extra] * 10) << request("OPTIONS", "/echo")).run()
    (Playbook(at_limit) >> icap("OPTIONS", *[extra] * 10, "X: y") << Broke(400)).run()


def test_header_count_of_trailers() -> None:
    at_limit = limits(header_count=3)
    begin = icap("REQMOD", "Encapsulated: req-body=0") + b"0\r\n"
    trailers = b"X: y\r\n" * 3
    (Playbook(at_limit) >> begin + trailers + b"\r\n" << request("REQMOD", "/echo") << EndOfMessage(trailers)).run()
    (Playbook(at_limit) >> begin + trailers + b"X: y\r\n\r\n" << request("REQMOD", "/echo") << Broke(400)).run()


# chunk_line_bytes


@pytest.mark.parametrize("size", [b"3", b"0"])
def test_chunk_line_bytes(size: bytes) -> None:
    at_limit = limits(chunk_line_bytes=100)
    fits = size + b";" + b"a" * 96 + b"\r\n"
    assert len(fits) == 100
    rest = b"abc\r\n" + LAST if size == b"3" else b"\r\n"
    playbook = Playbook(at_limit) >> respmod() + fits + rest << request("RESPMOD", "/echo")
    if size == b"3":
        playbook << BodyData(b"abc")
    (playbook << END_OF_MESSAGE).run()
    past = size + b";" + b"a" * 97 + b"\r\n"
    (Playbook(at_limit) >> respmod() + past << request("RESPMOD", "/echo") << Broke(400)).run()


def test_chunk_line_bytes_without_an_end() -> None:
    at_limit = limits(chunk_line_bytes=100)
    begin = b"3;" + b"a" * 98
    (Playbook(at_limit) >> respmod() + begin << request("RESPMOD", "/echo") << Wait.NEED_DATA).run()
    (Playbook(at_limit) >> respmod() + begin + b"a" << request("RESPMOD", "/echo") << Broke(400)).run()


# trailer_bytes


@pytest.mark.parametrize("preview", [False, True], ids=["body", "preview"])
def test_trailer_bytes(preview: bool) -> None:
    at_limit = limits(trailer_bytes=100)
    begin = respmod("Preview: 5") + b"0; ieof\r\n" if preview else respmod() + b"0\r\n"
    trailers = b"X: " + b"y" * 95 + b"\r\n"
    assert len(trailers) == 100
    (Playbook(at_limit) >> begin + trailers + b"\r\n" << request("RESPMOD", "/echo") << EndOfMessage(trailers)).run()
    past = b"X: " + b"y" * 96 + b"\r\n"
    (Playbook(at_limit) >> begin + past + b"\r\n" << request("RESPMOD", "/echo") << Broke(400)).run()
    endless = b"X: " + b"y" * 200
    (Playbook(at_limit) >> begin + endless << request("RESPMOD", "/echo") << Broke(400)).run()


def test_trailer_bytes_between_preview_and_rest() -> None:
    at_limit = limits(trailer_bytes=100)
    begin = respmod("Preview: 0")
    trailers = b"X: " + b"y" * 95 + b"\r\n"
    (Playbook(at_limit) >> begin + b"0\r\n" + trailers + b"\r\n" << request("RESPMOD", "/echo") << PREVIEW_END).run()
    (Playbook(at_limit) >> begin + b"0\r\nX" + trailers + b"\r\n" << request("RESPMOD", "/echo") << Broke(400)).run()


# discard_bytes


def test_discard_bytes() -> None:
    early = Reply(200, ISTAG, http_head=OK)
    wire = reply_wire(b"200 OK", b"res-hdr=0, null-body=%d" % len(OK), OK)
    rest = chunk(b"a" * 90) + LAST
    begin = Playbook(limits(discard_bytes=len(rest))) >> respmod() << request("RESPMOD", "/echo") << says(early, wire)
    (begin >> rest << Wait.PAUSED << holds(lambda it: it.cycle_is_over)).run()
    past = chunk(b"a" * 91) + LAST
    begin = Playbook(limits(discard_bytes=len(rest))) >> respmod() << request("RESPMOD", "/echo") << says(early, wire)
    (begin >> past << Broke(400) << holds(lambda it: it.must_close)).run()


def test_discard_bytes_begin_anew_with_each_request() -> None:
    early = Reply(200, ISTAG, http_head=OK)
    wire = reply_wire(b"200 OK", b"res-hdr=0, null-body=%d" % len(OK), OK)
    rest = chunk(b"a" * 90) + LAST
    playbook = Playbook(limits(discard_bytes=len(rest)))
    for _ in range(3):
        playbook >> respmod() << request("RESPMOD", "/echo") << says(early, wire)
        playbook >> rest << Wait.PAUSED << NEXT_CYCLE
    (playbook << Wait.NEED_DATA).run()


# Ceilings of the grammar


def test_target_bytes() -> None:
    begin = b"OPTIONS /"
    fits = begin + b"a" * 4095 + b" ICAP/1.0\r\n\r\n"
    (Playbook() >> fits << request("OPTIONS", "/" + "a" * 4095)).run()
    (Playbook() >> begin + b"a" * 4096 + b" ICAP/1.0\r\n\r\n" << Broke(400)).run()


def test_method_bytes() -> None:
    (Playbook() >> b"M" * 64 + b" / ICAP/1.0\r\n\r\n" << Broke(501)).run()
    (Playbook() >> b"M" * 65 + b" / ICAP/1.0\r\n\r\n" << Broke(400)).run()


def test_encapsulated_value_bytes() -> None:
    def padded(total: int) -> bytes:
        value = "null-body=0"
        return icap("REQMOD", "Encapsulated: null-body" + " " * (total - len(value)) + "=0")

    (Playbook() >> padded(256) << request("REQMOD", "/echo")).run()
    (Playbook() >> padded(257) << Broke(400)).run()


@pytest.mark.parametrize(("digits", "status"), [("9" * 15, None), ("9" * 16, 400)])
def test_preview_digits(digits: str, status: int | None) -> None:
    wire = icap("REQMOD", f"Preview: {digits}")
    expected = request("REQMOD", "/echo", preview_bytes=int(digits)) if status is None else Broke(status)
    (Playbook() >> wire << expected).run()


@pytest.mark.parametrize("length", [256, 257, 5000])
def test_long_lists_are_read_like_short_ones(length: int) -> None:
    value = "x," * ((length - 4) // 2) + " " * (length % 2) + " 204"
    assert len(value) == length
    (Playbook() >> icap("REQMOD", f"Allow: {value}") << request("REQMOD", "/echo", allow_204=True)).run()


def test_one_chunk_of_any_size_is_handed_on_as_it_comes() -> None:
    (
        Playbook()
        >> respmod() + b"7FFFFFFFFFFFFFFF\r\n" + b"a" * 1000
        << request("RESPMOD", "/echo")
        << BodyData(b"a" * 1000)
        << holds(lambda it: it.buffered_bytes == 0 and it.chunk_bytes_left == (1 << 63) - 1001)
    ).run()
    (Playbook() >> respmod() + b"8000000000000000\r\n" << request("RESPMOD", "/echo") << Broke(400)).run()


def test_no_cache_keeps_a_long_list() -> None:
    _known_steering.clear()
    assert steering_of({b"allow": b"a" * 257}).allow_204 is False
    assert not _known_steering
    assert steering_of({b"allow": b"204," + b"a" * 252}).allow_204 is True
    assert len(_known_steering) == 1
    for number in range(_KNOWN_STEERING_MAX + 10):
        steering_of({b"preview": b"%d" % number})
    assert 0 < len(_known_steering) <= _KNOWN_STEERING_MAX


def test_known_lines_are_bounded_and_hold_no_credentials() -> None:
    _known_lines.clear()
    for number in range(_KNOWN_LINES_MAX + 10):
        parse_fields(b"X-Client-IP: %d\r\nProxy-Authorization: Basic %d\r\n" % (number, number), 10)
    assert 0 < len(_known_lines) <= _KNOWN_LINES_MAX
    assert not any(b"Basic" in line for line in _known_lines)
    _known_lines.clear()
    parse_fields(b"Host: %b\r\n" % (b"a" * 251), 10)
    assert not _known_lines
    parse_fields(b"Host: %b\r\n" % (b"a" * 250), 10)
    assert len(_known_lines) == 1


def test_known_lines_change_nothing() -> None:
    """What was read before gives the same values, the same joins and the same refusals."""
    block = b"Host: a\r\nAllow: 204\r\nAllow: trailers\r\n"
    first = parse_fields(block, 10)
    assert parse_fields(block, 10) == first == {b"host": b"a", b"allow": b"204,trailers"}
    parse_fields(b"Preview: 1\r\n", 10)
    with pytest.raises(PeerProtocolError, match="twice"):
        parse_fields(b"Preview: 1\r\nPreview: 1\r\n", 10)
    with pytest.raises(PeerProtocolError, match="too many"):
        parse_fields(b"Host: a\r\n" * 2, 1)
    with pytest.raises(PeerProtocolError, match="end"):
        parse_fields(b"Host: a", 10)
