"""Feeding a connection: the same bytes whole, byte by byte or in any pieces, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icapd.errors import PeerProtocolError
from icapd.icap import BodyData, CodecLimits, Connection, Event, RequestHead, Wait

EVENTS_MAX = 100_000
"""More events than any test's bytes can mean: past it, `next_event` is taken to loop for ever."""

Split = Callable[[bytes], Iterable[bytes]]


@dataclass(frozen=True)
class Broke:
    """The client broke the protocol; `status` answers it."""

    status: int


Seen = Event | Broke


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def cut_at(places: Iterable[int]) -> Split:
    """Cuts at each place, taken modulo the length of the data."""
    wanted = list(places)

    def split(data: bytes) -> Iterator[bytes]:
        start = 0
        for place in sorted({place % max(1, len(data)) for place in wanted} - {0}):
            yield data[start:place]
            start = place
        yield data[start:]

    return split


def taken(connection: Connection) -> list[Seen]:
    """The rest that is taken at once, as the events that it would come as."""
    rest = connection.take_rest()
    return [] if rest is None else [BodyData(rest[0]), rest[1]]


def drain(connection: Connection, at_most: int = EVENTS_MAX) -> tuple[list[Seen], Wait | None]:
    """Every event there is, or the first few, and what the connection waits for: nothing once it is broken."""
    seen: list[Seen] = []
    while len(seen) < at_most:
        try:
            event = connection.next_event()
        except PeerProtocolError as error:
            seen.append(Broke(error.status_hint))
            return seen, None
        if isinstance(event, Wait):
            return seen, event
        seen.append(event)
        if isinstance(event, RequestHead) and at_most == EVENTS_MAX:
            seen += taken(connection)
    assert at_most < EVENTS_MAX, "next_event goes on for ever"
    return seen, None


def feed(connection: Connection, data: bytes, split: Split) -> tuple[list[Seen], Wait | None]:
    """Gives the data in pieces, reading events after each, until all is given or the client broke the protocol."""
    seen: list[Seen] = []
    waits: Wait | None = Wait.NEED_DATA
    for piece in split(data):
        connection.receive_data(piece)
        seen += taken(connection)
        events, waits = drain(connection)
        seen += events
        if waits is None:
            break
    return seen, waits


def joined(seen: Sequence[Seen]) -> list[Seen]:
    """Events with adjacent body data made one, as its pieces follow the network's.

    Body data right before a breach is dropped: in one read the breach may be met before the data is handed on.
    """
    result: list[Seen] = []
    for event in seen:
        last = result[-1] if result else None
        if isinstance(last, BodyData) and isinstance(event, BodyData):
            result[-1] = BodyData(last.data + event.data)
        elif isinstance(last, BodyData) and isinstance(event, Broke):
            result[-1] = event
        else:
            result.append(event)
    return result


def in_all_feedings(run: Callable[[Split], None], examples: int = 15) -> None:
    """Runs whole, byte by byte, and in pieces of Hypothesis's choice."""
    run(whole)
    run(byte_by_byte)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(places=st.lists(st.integers(1, 1 << 16), min_size=1, max_size=12))
    def in_pieces(places: list[int]) -> None:
        run(cut_at(places))

    in_pieces()


def outcome(data: bytes, limits: CodecLimits | None = None) -> list[Seen]:
    """The events that the bytes give before any answer, the same whole and byte by byte."""
    results = [joined(feed(Connection(limits or CodecLimits()), data, split)[0]) for split in (whole, byte_by_byte)]
    assert results[0] == results[1]
    return results[0]
