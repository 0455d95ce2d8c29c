"""Steps of ours: which the codec takes, and which it refuses because they are bugs of ours."""

from __future__ import annotations

import pytest

from icapd.errors import LocalProtocolError
from icapd.icap import (
    CONTINUE,
    REPLY_END,
    STREAM,
    CodecLimits,
    Connection,
    Message,
    Reply,
    ReplyData,
)
from tests.icap.feeding import drain, feed, whole
from tests.icap.wire import (
    IEOF,
    ISTAG,
    LAST,
    NO_CONTENT_WIRE,
    OK,
    chunk,
    respmod,
)

BLOCKED = Reply(200, ISTAG, http_head=OK, body=b"no")
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


@pytest.mark.parametrize(
    ("data", "before", "may_begin"),
    [
        (b"", [], True),
        (b"REQMOD", [], True),
        (b"nonsense\r\n\r\n", [], True),
        (HEAD, [], True),
        (HEAD + LAST, [], True),
        (HEAD + LAST, [CONTINUE], True),
        (HEAD + IEOF, [], True),
        (respmod() + b"-1\r\n", [], True),
        (HEAD, [STREAMED], False),
        (HEAD, [BLOCKED], False),
        (HEAD + IEOF, [STREAMED], False),
        (HEAD + IEOF, [BLOCKED], False),
        (b"nonsense\r\n\r\n", [Reply(400, ISTAG)], False),
        (b"", [Reply(408, ISTAG)], False),
    ],
)
def test_a_reply_may_begin_exactly_where_one_is_owed(data: bytes, before: list[Message], may_begin: bool) -> None:
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    for message in before:
        connection.send(message)
    assert connection.may_begin_reply is may_begin
    if may_begin:
        connection.send(Reply(400, ISTAG, close=True))
        assert not connection.may_begin_reply
    else:
        with pytest.raises(LocalProtocolError):
            connection.send(Reply(400, ISTAG, close=True))


@pytest.mark.parametrize("data", [b"REQMOD", HEAD, respmod() + b"5\r\nab"])
def test_no_reply_may_begin_to_a_client_that_left(data: bytes) -> None:
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    connection.receive_eof()
    drain(connection)
    assert not connection.may_begin_reply
