"""How requests and connections end: early replies, closes, half-closes, breaches, and steps we must not take."""

from __future__ import annotations

import pytest

from icapd.errors import LocalProtocolError
from icapd.icap import (
    CONTINUE,
    REPLY_END,
    STREAM,
    BodyData,
    CodecLimits,
    Connection,
    Message,
    PeerClosed,
    Reply,
    ReplyData,
    Wait,
)
from icapd.icap.events import END_OF_MESSAGE, PREVIEW_END
from tests.icap.feeding import Broke, drain, feed, whole
from tests.icap.playbook import HALF_CLOSE, NEXT_CYCLE, Playbook, holds, refused, request, says
from tests.icap.wire import (
    CONTINUE_WIRE,
    IEOF,
    ISTAG,
    LAST,
    NO_CONTENT_WIRE,
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


# Steps that are bugs of ours

HEAD = respmod("Preview: 4", "Allow: 204")
STREAMED = Reply(200, ISTAG, http_head=OK, body=STREAM)
MISTAKES: list[tuple[str, bytes, list[Message], Message]] = [
    ("100 before a request", b"", [], CONTINUE),
    ("100 without a preview", respmod() + chunk(b"a"), [], CONTINUE),
    ("100 before the preview's end", HEAD + chunk(b"a"), [], CONTINUE),
    ("100 twice", HEAD + LAST, [CONTINUE], CONTINUE),
    ("100 after ieof", HEAD + IEOF, [], CONTINUE),
    ("100 to null-body", respmod("Preview: 0", body="null-body"), [], CONTINUE),
    ("100 after the reply", HEAD + LAST, [BLOCKED], CONTINUE),
    ("100 inside the reply", HEAD + LAST, [STREAMED], CONTINUE),
    ("204 without permission", respmod() + LAST, [], Reply(204, ISTAG)),
    ("204 with an HTTP head", HEAD + IEOF, [], Reply(204, ISTAG, http_head=OK)),
    ("204 with a body", HEAD + IEOF, [], Reply(204, ISTAG, body=b"")),
    ("204 that streams", HEAD + IEOF, [], Reply(204, ISTAG, body=STREAM)),
    ("a request in a RESPMOD reply", HEAD + IEOF, [], Reply(200, ISTAG, http_head=OK, http_is_request=True)),
    ("200 before a request", b"", [Reply(408, ISTAG)], BLOCKED),
    ("reply twice", HEAD + IEOF, [BLOCKED], BLOCKED),
    ("reply inside a reply", HEAD + IEOF, [STREAMED], BLOCKED),
    ("data before a reply", HEAD + IEOF, [], ReplyData(b"x")),
    ("end before a reply", HEAD + IEOF, [], REPLY_END),
    ("data after a whole reply", HEAD + IEOF, [BLOCKED], ReplyData(b"x")),
    ("data after the end", HEAD + IEOF, [STREAMED, REPLY_END], ReplyData(b"x")),
    ("end twice", HEAD + IEOF, [STREAMED, REPLY_END], REPLY_END),
]


@pytest.mark.parametrize(
    ("data", "before", "mistake"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_impossible_steps_are_local_errors(data: bytes, before: list[Message], mistake: Message) -> None:
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    for message in before:
        connection.send(message)
    sides = connection.client, connection.server
    with pytest.raises(LocalProtocolError):
        connection.send(mistake)
    assert (connection.client, connection.server) == sides


@pytest.mark.parametrize(
    ("data", "before"),
    [
        (b"", []),
        (HEAD + IEOF, []),
        (HEAD + IEOF, [STREAMED]),
        (HEAD, [BLOCKED]),
        (respmod("Connection: close") + LAST, [BLOCKED]),
        (b"nonsense\r\n\r\n", [Reply(400, ISTAG)]),
    ],
    ids=["no request", "no reply", "reply unfinished", "request unfinished", "last reply", "broken"],
)
def test_the_next_cycle_cannot_begin_too_early(data: bytes, before: list[Message]) -> None:
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    for message in before:
        connection.send(message)
    drain(connection)
    with pytest.raises(LocalProtocolError):
        connection.start_next_cycle()


@pytest.mark.parametrize(
    ("rest", "left"),
    [(b"", 0), (b"5", 0), (b"5\r\n", 5), (b"5\r\nab", 3), (b"5\r\nabcde", 0), (b"5\r\nabcde\r\n", 0)],
)
def test_announced_bytes_of_a_chunk_are_counted_down(rest: bytes, left: int) -> None:
    connection = Connection(CodecLimits())
    feed(connection, respmod() + rest, whole)
    assert connection.chunk_bytes_left == left


def test_no_content_reply_is_bare() -> None:
    connection = Connection(CodecLimits())
    feed(connection, HEAD + IEOF, whole)
    assert b"".join(connection.send(Reply(204, ISTAG))) == NO_CONTENT_WIRE
