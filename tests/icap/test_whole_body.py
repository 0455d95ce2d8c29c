"""The rest of a body or preview that is all there: taken at once, or told of in events; never both, never in part."""

from __future__ import annotations

import pytest

from icapd.errors import PeerProtocolError
from icapd.icap import CONTINUE, PREVIEW_END, BodyData, CodecLimits, Connection, Reply, RequestHead, Wait
from icapd.icap.events import END_OF_MESSAGE
from icapd.icap.state import ClientState

HTTP = b"HTTP/1.1 200 OK\r\n\r\n"
HEAD = b"RESPMOD icap://h/scan ICAP/1.0\r\nHost: h\r\n%bEncapsulated: res-hdr=0, res-body=19\r\n\r\n" + HTTP
NEXT = b"OPTIONS icap://h/scan ICAP/1.0\r\nHost: h\r\n\r\n"


def at_its_body(body: bytes, fields: bytes = b"") -> Connection:
    connection = Connection(CodecLimits())
    connection.receive_data(HEAD % fields + body)
    assert isinstance(connection.next_event(), RequestHead)
    return connection


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"", b"2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n"),
        (b"Preview: 1024\r\n", b"5\r\nhello\r\n0; ieof\r\n\r\n"),
        (b"Preview: 1024\r\n", b"1\r\nh\r\n4\r\nello\r\n0; ieof\r\n\r\n"),
    ],
)
def test_a_whole_body_completes_its_request(fields: bytes, body: bytes) -> None:
    connection = at_its_body(body + NEXT, fields)
    assert connection.take_rest() == (b"hello", END_OF_MESSAGE)
    assert connection.client is ClientState.DONE
    assert connection.take_rest() is None
    assert connection.next_event() is Wait.PAUSED
    assert connection.buffered_bytes == len(NEXT)
    connection.send(Reply(200, b"tag", http_head=HTTP, body=b"hello"))
    connection.start_next_cycle()
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    assert head.method == "OPTIONS"
    assert connection.take_rest() is None


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", b""),
        (b"", b"5\r\nhell"),
        (b"", b"5\r\nhello\r\n0\r\n\r"),
        (b"", b"0\r\n\r\n"),
        (b"", b"5\r\nhello\r\n0; ieof\r\n\r\n"),
        (b"", b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
        (b"", b"2\r\nhe\r\n3\r\nllo\r\n00\r\n\r\n"),
        (b"", b"2\r\nhe\r\n3\r\nllo\r\n"),
        (b"", b"5;name=value\r\nhello\r\n0\r\n\r\n"),
        (b"", b"5\r\nhello\r\n0\r\n\r\nOPTIONS "),
        (b"Preview: 1024\r\n", b"5\r\nhello\r\n"),
        (b"Preview: 1024\r\n", b"5\r\nhello\r\n0;ieof\r\n\r\n"),
        (b"Preview: 0\r\n", b"0; ieof\r\n\r\n"),
        (b"Preview: 0\r\n", b"0\r\n\r\n"),
    ],
)
def test_of_any_other_body_nothing_is_taken(fields: bytes, body: bytes) -> None:
    asked, unasked = at_its_body(body, fields), at_its_body(body, fields)
    assert asked.take_rest() is None
    for _ in range(4):
        assert asked.next_event() == unasked.next_event()
    assert asked.client is unasked.client
    assert asked.buffered_bytes == unasked.buffered_bytes


def test_a_preview_is_taken_and_then_the_rest() -> None:
    connection = at_its_body(b"5\r\nhello\r\n0\r\n\r\n", b"Preview: 5\r\n")
    assert connection.take_rest() == (b"hello", PREVIEW_END)
    assert connection.client is ClientState.PAUSED
    assert connection.take_rest() is None
    assert connection.next_event() is Wait.PAUSED
    connection.send(CONTINUE)
    connection.receive_data(b"6\r\n, here\r\n0\r\n\r\n")
    assert connection.take_rest() == (b", here", END_OF_MESSAGE)
    assert connection.next_event() is Wait.PAUSED


def test_what_follows_an_answer_is_not_taken() -> None:
    connection = at_its_body(b"5\r\nhello\r\n")
    connection.send(Reply(200, b"tag", http_head=HTTP, body=b"hello"))
    connection.receive_data(b"5\r\nagain\r\n0\r\n\r\n")
    assert connection.take_rest() is None
    assert connection.next_event() is Wait.PAUSED
    assert connection.cycle_is_over


@pytest.mark.parametrize(
    ("begun", "rest", "data"),
    [
        (b"5\r\nhello\r\n", b"5\r\nagain\r\n0\r\n\r\n", b"again"),
        (b"5\r\nhe", b"llo\r\n5\r\nagain\r\n0\r\n\r\n", b"lloagain"),
        (b"5\r\nhell", b"o\r\n0\r\n\r\n", b"o"),
    ],
)
def test_the_rest_of_a_body_that_has_begun_is_taken(begun: bytes, rest: bytes, data: bytes) -> None:
    connection = at_its_body(begun)
    assert isinstance(connection.next_event(), BodyData)
    connection.receive_data(rest)
    assert connection.take_rest() == (data, END_OF_MESSAGE)
    assert connection.chunk_bytes_left == 0


@pytest.mark.parametrize("begun", [b"5\r\nhello", b"5\r\nhello\r\n0\r\n", b"9\r\nhe"])
def test_in_the_midst_of_a_line_nothing_is_taken(begun: bytes) -> None:
    connection = at_its_body(begun)
    connection.next_event()
    connection.receive_data(b"5\r\nagain\r\n0\r\n\r\n")
    assert connection.take_rest() is None


def test_a_chunk_that_ends_otherwise_breaks_the_protocol() -> None:
    connection = at_its_body(b"5\r\nhello!!0\r\n\r\n")
    assert connection.take_rest() is None
    with pytest.raises(PeerProtocolError, match="does not end with CRLF"):
        connection.next_event()
