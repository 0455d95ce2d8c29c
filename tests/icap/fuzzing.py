"""Bytes that no client should send, and what must hold whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from icapd.icap import CodecLimits, Connection, Reply, RequestHead, Wait
from tests.icap.captured import CONVERSATIONS, client_bytes
from tests.icap.conversation import Conversation
from tests.icap.feeding import EVENTS_MAX, Broke, Seen, Split, byte_by_byte, cut_at, drain, joined, whole
from tests.icap.wire import ISTAG, chunk, reqmod, respmod

STATUSES = {400, 418, 501, 505}

TOKENS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b'"',
    b"0\r\n\r\n",
    b"0; ieof\r\n\r\n",
    b"; ieof",
    b'; a="; ieof; "',
    b"0\r\nX: y\r\n\r\n",
    b"5\r\nabcde\r\n",
    b"-1",
    b"+5",
    b"7FFFFFFFFFFFFFFF\r\n",
    b"FFFFFFFFFFFFFFFF\r\n",
    b"80000000\r\n",
    b"null-body=0",
    b"req-hdr=0, req-body=",
    b"res-hdr=0, res-body=",
    b"Encapsulated: null-body=0\r\n",
    b"Encapsulated: req-body=0\r\n",
    b"Encapsulated: res-body=0\r\n",
    b"Preview: 0\r\n",
    b"Preview: 4\r\n",
    b"Allow: 204\r\n",
    b"Connection: close\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"OPTIONS icap://h/echo ICAP/1.0\r\n",
    b"REQMOD icap://h/echo ICAP/1.0\r\n",
    b"RESPMOD icap://h/echo ICAP/1.0\r\n",
    b"RESPMOD icap://h/echo ICAP/2.0\r\n",
    b"FROB / ICAP/1.0\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"X-Folded: a\r\n b\r\n",
    b"\xff\xfe",
]

CAPTURES = [data for data in map(client_bytes, sorted(CONVERSATIONS)) if len(data) < 1000]

SMALL = CodecLimits(
    head_bytes=400,
    http_head_bytes=400,
    header_count=8,
    chunk_line_bytes=20,
    trailer_bytes=30,
    discard_bytes=64,
)
LIMITS = [CodecLimits(), SMALL]


def composed(random: Random) -> bytes:
    """One to three whole requests, with lengths around the small limits."""
    return b"".join(_request(random) for _ in range(random.randrange(1, 4)))


def _request(random: Random) -> bytes:
    lines = [random.choice(["Preview: 0", "Preview: 9", "Allow: 204", "Connection: close"])] * random.randrange(2)
    lines += ["X: " + "y" * random.randrange(150)] * random.choice([0, 0, 1, 2, 7])
    has_body = random.random() < 0.8
    if not has_body:
        return random.choice([reqmod(*lines, body="null-body"), respmod(*lines, body="null-body")])
    message = random.choice([reqmod(*lines), respmod(*lines)])
    preview = any(line.startswith("Preview") for line in lines)
    message += _body(random, b"0; ieof\r\n" if preview and random.random() < 0.5 else b"0\r\n")
    return message + (_body(random, b"0\r\n") if preview and random.random() < 0.5 else b"")


def _body(random: Random, end: bytes) -> bytes:
    extensions = [b"", b"; " + b"e" * random.randrange(12, 20)]
    chunks = [chunk(b"d" * random.randrange(1, 40), random.choice(extensions)) for _ in range(random.randrange(4))]
    trailers = [b"X: " + b"y" * random.randrange(32) + b"\r\n"] * random.choice([0, 0, 1, 1, 2])
    return b"".join([*chunks, end, *trailers, b"\r\n"])


def assembled(random: Random) -> bytes:
    """A conversation put together from the words of the wire."""
    return b"".join(random.choice(TOKENS) for _ in range(random.randrange(1, 16)))


def mutated(random: Random) -> bytes:
    """A captured or composed conversation with one to four faults."""
    data = random.choice(CAPTURES) if random.random() < 0.5 else composed(random)
    for _ in range(random.randrange(1, 5)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.randrange(1, 40))
        change = random.choice(CHANGES)
        data = data[:start] + change(random, data[start:end]) + data[end:]
    return data


def _flipped(random: Random, part: bytes) -> bytes:
    return bytes([part[0] ^ (1 << random.randrange(8))]) + part[1:] if part else part


CHANGES: list[Callable[[Random, bytes], bytes]] = [
    _flipped,
    lambda _random, _part: b"",
    lambda _random, part: part + part,
    lambda random, part: random.choice(TOKENS) + part,
    lambda random, _part: random.choice(TOKENS),
    lambda random, part: part + random.choice(CAPTURES),
    lambda random, part: bytes(random.randrange(256) for _ in part),
]


def splits(random: Random) -> list[Split]:
    return [whole, byte_by_byte, cut_at(random.randrange(1, 4000) for _ in range(random.randrange(1, 8)))]


def check(data: bytes, random: Random) -> None:
    """Raises: whatever the codec must not raise, or AssertionError for a feeding that gives another outcome."""
    for limits in LIMITS:
        for continues in (True, False):
            outcomes = [_converse(data, split, limits, continues) for split in splits(random)]
            assert all(outcome == outcomes[0] for outcome in outcomes)
        heads = [_answer_early(data, split, limits) for split in splits(random)]
        assert all(found == heads[0] for found in heads)


def _converse(data: bytes, split: Split, limits: CodecLimits, continues: bool) -> list[Seen]:
    """Everything seen when each request is echoed and the client closes in the end."""
    conversation = Conversation(Connection(limits), continues)
    conversation.feed(data, split)
    if not conversation.ended:
        conversation.connection.receive_eof()
        conversation.go_on()
    _check_statuses(conversation.seen)
    return joined(conversation.seen)


def _answer_early(data: bytes, split: Split, limits: CodecLimits) -> list[Seen]:
    """The heads seen when each request is answered before its body is read."""
    connection = Connection(limits)
    found: list[Seen] = []
    for piece in split(data):
        connection.receive_data(piece)
        if not _take_early(connection, found):
            break
    _check_statuses(found)
    return found


def _take_early(connection: Connection, found: list[Seen]) -> bool:
    """Reads and answers until the client must send more; False when no more can come."""
    for _ in range(EVENTS_MAX):
        seen, waits = _one(connection)
        if isinstance(seen, RequestHead):
            connection.send(Reply(200, ISTAG))
        if seen is not None:
            found.append(seen)
        if waits is Wait.NEED_DATA:
            return True
        if connection.cycle_is_over:
            connection.start_next_cycle()
        elif connection.must_close or isinstance(seen, Broke):
            return False
    raise AssertionError("next_event goes on for ever")


def _one(connection: Connection) -> tuple[Seen | None, Wait | None]:
    """One step: an early answer must go out before the next event is asked for."""
    if connection.cycle_is_over:
        return None, None
    seen, waits = drain(connection, at_most=1)
    return (seen[0] if seen else None), waits


def _check_statuses(seen: list[Seen]) -> None:
    assert {event.status for event in seen if isinstance(event, Broke)} <= STATUSES
