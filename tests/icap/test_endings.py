"""How requests and connections end: early replies, closes, half-closes, breaches, and steps we must not take."""

from __future__ import annotations

import pytest

from icapd.icap import (
    CONTINUE,
    REPLY_END,
    STREAM,
    BodyData,
    CodecLimits,
    Connection,
    PeerClosed,
    Reply,
    ReplyData,
    Wait,
)
from icapd.icap.events import END_OF_MESSAGE, PREVIEW_END
from tests.icap.feeding import Broke
from tests.icap.playbook import HALF_CLOSE, NEXT_CYCLE, Playbook, holds, refused, request, says
from tests.icap.wire import (
    CONTINUE_WIRE,
    IEOF,
    ISTAG,
    LAST,
    OK,
    chunk,
    icap,
    reply_wire,
    respmod,
)

BLOCKED = Reply(200, ISTAG, http_head=OK, body=b"no")
BLOCKED_REST = OK + b"2\r\nno\r\n0\r\n\r\n"
BLOCKED_WIRE = reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), BLOCKED_REST)
BLOCKED_LAST_WIRE = reply_wire(
    b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), BLOCKED_REST, fields=b"Connection: close\r\n"
)
STREAM_WIRE = reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK)


def error_wire(status: bytes) -> bytes:
    return reply_wire(status, b"null-body=0", fields=b"Connection: close\r\n")


def must_close(connection: Connection) -> bool:
    return connection.must_close and not connection.cycle_is_over


# Early replies: the client still sends (errata e7)


def test_what_follows_an_early_reply_is_dropped() -> None:
    (
        Playbook()
        >> respmod() + chunk(b"abc")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(BLOCKED, BLOCKED_WIRE)
        << holds(lambda connection: not connection.cycle_is_over and not connection.must_close)
        >> chunk(b"def") * 50 + b"0\r\nX-Sum: 1\r\n\r\n"
        << Wait.PAUSED
        << NEXT_CYCLE
        >> icap("OPTIONS")
        << request("OPTIONS", "/echo")
    ).run()


@pytest.mark.parametrize("end", [LAST, IEOF], ids=["more to come", "ieof"])
def test_an_early_reply_in_a_preview_drops_only_the_preview(end: bytes) -> None:
    (
        Playbook()
        >> respmod("Preview: 1024") + b"400\r\nabc"
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(BLOCKED, BLOCKED_WIRE)
        >> b"d" * 1021 + b"\r\n" + end
        << Wait.PAUSED
        << NEXT_CYCLE
        >> icap("OPTIONS")
        << request("OPTIONS", "/echo")
    ).run()


def dropped(discard_bytes: int, rest: bytes) -> Playbook:
    return (
        Playbook(CodecLimits(discard_bytes=discard_bytes))
        >> respmod() + chunk(b"abc")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(BLOCKED, BLOCKED_WIRE)
        >> rest
    )


def test_dropped_bytes_at_the_limit_and_one_past_it() -> None:
    rest = chunk(b"d" * 100, b"; extension") + LAST
    (dropped(len(rest), rest) << Wait.PAUSED << NEXT_CYCLE << Wait.NEED_DATA).run()
    (dropped(len(rest) - 1, rest) << Broke(400) << holds(must_close)).run()


def test_a_breach_in_dropped_bytes_ends_the_connection() -> None:
    (dropped(1 << 20, b"zz\r\n") << Broke(400) << holds(must_close) << refused(BLOCKED)).run()


# Closing


def test_connection_close_is_answered_and_honoured() -> None:
    (
        Playbook()
        >> respmod("Connection: TE, Close") + chunk(b"abc") + LAST
        << request("RESPMOD", "/echo", wants_close=True)
        << BodyData(b"abc")
        << END_OF_MESSAGE
        << says(BLOCKED, BLOCKED_LAST_WIRE)
        << holds(must_close)
        >> icap("OPTIONS")
        << Wait.PAUSED
    ).run()


def test_keep_alive_is_no_close() -> None:
    (
        Playbook()
        >> icap("OPTIONS", "Connection: keep-alive, closed")
        << request("OPTIONS", "/echo", wants_close=False)
        << says(Reply(200, ISTAG), reply_wire(b"200 OK", b"null-body=0"))
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_a_connection_told_to_end_does_so_after_its_next_reply() -> None:
    def told_to_end(connection: Connection) -> bool:
        connection.ends_after_reply = True
        return not connection.must_close

    (
        Playbook()
        >> respmod() + chunk(b"abc") + LAST + icap("OPTIONS")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << END_OF_MESSAGE
        << holds(told_to_end)
        << says(BLOCKED, BLOCKED_LAST_WIRE)
        << Wait.PAUSED
        << holds(must_close)
    ).run()


def test_our_own_close_ends_the_connection_though_the_client_still_sends() -> None:
    (
        Playbook()
        >> respmod() + chunk(b"abc")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(Reply(200, ISTAG, http_head=OK, body=b"no", close=True), BLOCKED_LAST_WIRE)
        << holds(must_close)
        >> chunk(b"def") + LAST
        << Wait.PAUSED
        << holds(must_close)
    ).run()


def test_streamed_last_reply() -> None:
    (
        Playbook()
        >> icap("REQMOD", "Connection: close")
        << request("REQMOD", "/echo")
        << says(
            Reply(200, ISTAG, http_head=OK, body=STREAM),
            reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK, fields=b"Connection: close\r\n"),
        )
        << holds(lambda connection: not connection.must_close)
        << says(ReplyData(b"no"), b"2\r\nno\r\n")
        << says(REPLY_END, LAST)
        << holds(must_close)
    ).run()


@pytest.mark.parametrize(
    "begin", [b"R", icap("REQMOD", "Encapsulated: null-body=0")[:-2], respmod()[:-1]], ids=["line", "head", "section"]
)
def test_half_close_in_a_head(begin: bytes) -> None:
    (
        Playbook()
        >> begin
        << Wait.NEED_DATA
        >> HALF_CLOSE
        << PeerClosed(mid_message=True)
        << Wait.PAUSED
        << refused(Reply(400, ISTAG))
    ).run()


@pytest.mark.parametrize("rest", [b"", b"5", b"5\r\nab", b"2\r\nab\r\n0\r\n", b"2\r\nab\r\n0\r\nX: y\r\n"])
@pytest.mark.parametrize("lines", [(), ("Preview: 10",)], ids=["body", "preview"])
def test_half_close_in_a_body(rest: bytes, lines: tuple[str, ...]) -> None:
    playbook = Playbook() >> respmod(*lines) + rest << request("RESPMOD", "/echo")
    if b"ab" in rest:
        playbook << BodyData(b"ab")
    (playbook >> HALF_CLOSE << PeerClosed(mid_message=True) << refused(BLOCKED)).run()


def test_half_close_after_the_request_still_gets_the_answer() -> None:
    (
        Playbook()
        >> respmod() + chunk(b"abc") + LAST
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << END_OF_MESSAGE
        >> HALF_CLOSE
        << Wait.PAUSED
        << says(BLOCKED, BLOCKED_LAST_WIRE)
        << holds(must_close)
    ).run()


def test_half_close_after_the_preview_is_answered_but_cannot_go_on() -> None:
    (
        Playbook()
        >> respmod("Preview: 0") + LAST
        << request("RESPMOD", "/echo")
        << PREVIEW_END
        >> HALF_CLOSE
        << Wait.PAUSED
        << says(CONTINUE, CONTINUE_WIRE)
        << PeerClosed(mid_message=True)
    ).run()


def test_half_close_after_the_reply() -> None:
    (
        Playbook()
        >> icap("OPTIONS")
        << request("OPTIONS", "/echo")
        << says(Reply(200, ISTAG), reply_wire(b"200 OK", b"null-body=0"))
        >> HALF_CLOSE
        << Wait.PAUSED
        << NEXT_CYCLE
        << PeerClosed(mid_message=False)
    ).run()


def test_half_close_while_the_rest_is_dropped() -> None:
    (
        dropped(1 << 20, b"5\r\nab")
        << Wait.NEED_DATA
        >> HALF_CLOSE
        << PeerClosed(mid_message=True)
        << holds(lambda connection: not connection.cycle_is_over)
    ).run()


# Breaches


@pytest.mark.parametrize(
    ("data", "status", "line"),
    [
        (b"nonsense\r\n\r\n", 400, b"400 Bad request"),
        (icap("FROB"), 501, b"501 Method not implemented"),
        (b"OPTIONS /echo ICAP/2.0\r\n\r\n", 505, b"505 ICAP version not supported"),
        (icap("OPTIONS", "Encapsulated: req-hdr=0, null-body=9"), 418, b"418 Bad composition"),
    ],
)
def test_a_broken_head_gets_one_error_reply_and_the_end(data: bytes, status: int, line: bytes) -> None:
    (
        Playbook()
        >> data
        << Broke(status)
        << refused(Reply(204, ISTAG))
        << refused(CONTINUE)
        << says(Reply(status, ISTAG), error_wire(line))
        << holds(must_close)
        << refused(Reply(status, ISTAG))
    ).run()


def test_a_broken_body_gets_one_error_reply_and_the_end() -> None:
    (
        Playbook()
        >> respmod("Allow: 204") + chunk(b"abc") + b"-1\r\n"
        << request("RESPMOD", "/echo")
        << Broke(400)
        << says(Reply(400, ISTAG), error_wire(b"400 Bad request"))
        << holds(must_close)
    ).run()


def test_a_breach_while_we_stream_lets_us_finish_and_then_closes() -> None:
    (
        Playbook()
        >> respmod() + chunk(b"abc")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(Reply(200, ISTAG, http_head=OK, body=STREAM), STREAM_WIRE)
        >> b"-1\r\n"
        << Broke(400)
        << refused(Reply(400, ISTAG))
        << says(ReplyData(b"x"), b"1\r\nx\r\n")
        << says(REPLY_END, LAST)
        << holds(must_close)
    ).run()


@pytest.mark.parametrize("begin", [b"", b"REQMOD icap://h/"])
def test_a_head_that_never_came_gets_408(begin: bytes) -> None:
    (
        Playbook()
        >> begin
        << says(Reply(408, ISTAG), error_wire(b"408 Request timeout"))
        << holds(must_close)
        >> icap("OPTIONS")
        << Wait.PAUSED
    ).run()
