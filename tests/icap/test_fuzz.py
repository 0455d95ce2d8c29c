"""Arbitrary and mutated bytes, and arbitrary steps of ours: only the two protocol errors ever come out."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from icapd.errors import LocalProtocolError
from icapd.icap import CONTINUE, REPLY_END, STREAM, CodecLimits, Connection, Message, Reply, ReplyData, ReplyEnd
from icapd.icap.state import ServerState
from tests.icap.feeding import EVENTS_MAX, Broke, drain
from tests.icap.fuzzing import CAPTURES, assembled, check, composed, mutated
from tests.icap.reading import read_replies
from tests.icap.wire import IEOF, ISTAG, LAST, OK, POST, chunk, icap, reqmod, respmod

FOUND = Path(__file__).parent.parent / "fuzz" / "found"

fuzzed = settings(derandomize=True, database=None, deadline=None)
randoms = st.randoms(use_true_random=False)


@settings(fuzzed, max_examples=150)
@given(st.binary(max_size=300), randoms)
def test_arbitrary_bytes(data: bytes, random: Random) -> None:
    check(data, random)


@settings(fuzzed, max_examples=200)
@given(randoms)
def test_words_of_the_wire_in_any_order(random: Random) -> None:
    check(assembled(random), random)


@settings(fuzzed, max_examples=250)
@given(randoms)
def test_composed_conversations(random: Random) -> None:
    check(composed(random), random)


@settings(fuzzed, max_examples=150)
@given(randoms)
def test_mutated_conversations(random: Random) -> None:
    check(mutated(random), random)


def test_mutations_start_from_captures() -> None:
    assert len(CAPTURES) > 40
    for data in CAPTURES:
        check(data, Random(0))


def test_what_fuzzing_has_found() -> None:
    inputs = sorted(FOUND.glob("*.bin"))
    assert inputs
    for path in inputs:
        check(path.read_bytes(), Random(0))


INCOMING = [
    icap("OPTIONS"),
    reqmod("Allow: 204") + chunk(b"abc"),
    respmod("Preview: 4"),
    respmod("Preview: 0", "Connection: close", body="null-body"),
    chunk(b"abcd"),
    LAST,
    IEOF,
    b"junk\r\n",
    b"",
]
MESSAGES: list[Message] = [
    CONTINUE,
    Reply(204, ISTAG),
    Reply(200, ISTAG, http_head=OK, body=b"abc", trailers=b"X: y\r\n"),
    Reply(200, ISTAG, http_head=OK),
    Reply(200, ISTAG, http_head=POST, http_is_request=True, body=STREAM),
    Reply(200, ISTAG, http_head=OK, body=STREAM),
    Reply(400, ISTAG, close=True),
    ReplyData(b"abc"),
    ReplyData(b""),
    REPLY_END,
    ReplyEnd(b"X: y\r\n"),
]


@settings(fuzzed, max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(INCOMING), st.sampled_from(MESSAGES), st.none()), max_size=24))
def test_whatever_we_try_the_wire_holds_whole_replies(steps: list[bytes | Message | None]) -> None:
    """None begins the next cycle. What is refused must send nothing; what is sent must read as whole replies."""
    connection = Connection(CodecLimits())
    wire: list[bytes] = []
    replies = 0
    for step in steps:
        try:
            if isinstance(step, bytes):
                connection.receive_data(step)
            elif step is None:
                connection.start_next_cycle()
            else:
                wire += [bytes(piece) for piece in connection.send(step)]
                replies += not isinstance(step, ReplyData | ReplyEnd)
        except LocalProtocolError:
            continue
        seen, _ = drain(connection, at_most=EVENTS_MAX - 1)
        assert all(event.status == 400 for event in seen if isinstance(event, Broke))
    if connection.server in {ServerState.STREAMING, ServerState.STREAMING_LAST}:
        wire += [bytes(piece) for piece in connection.send(REPLY_END)]
    assert len(read_replies(b"".join(wire))) == replies
