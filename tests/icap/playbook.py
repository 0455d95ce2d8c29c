"""A playbook reads like a wire trace: `>>` what the client does, `<<` what must come of it.

    (
        Playbook()
        >> b"OPTIONS /echo ICAP/1.0\\r\\n\\r\\n"
        << request("OPTIONS", "/echo")
        << says(Reply(200, b"T"), b"ICAP/1.0 200 OK\\r\\n...")
    ).run()

After `>>` of bytes, the events up to the next other line must be exactly these, and nothing else. `run` plays it
whole, byte by byte and in pieces, on a new connection each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from icapd.errors import LocalProtocolError
from icapd.icap import CodecLimits, Connection, Event, Message, RequestHead, Wait
from tests.icap.feeding import Broke, Seen, Split, drain, feed, in_all_feedings, joined


class HalfClose:
    """The client sends no more."""


HALF_CLOSE = HalfClose()


@dataclass(frozen=True)
class RequestSeen:
    """A RequestHead with at least these attributes."""

    attributes: dict[str, object]

    def check(self, event: Seen) -> None:
        assert isinstance(event, RequestHead), f"expected a request head, not {event}"
        assert {name: getattr(event, name) for name in self.attributes} == self.attributes


def request(method: str, path: str, **attributes: object) -> RequestSeen:
    return RequestSeen({"method": method, "path": path, **attributes})


@dataclass(frozen=True)
class Says:
    """We send a message; the wire must show exactly these bytes."""

    message: Message
    wire: bytes


def says(message: Message, wire: bytes) -> Says:
    return Says(message, wire)


@dataclass(frozen=True)
class Refused:
    """We try to send a message, and the codec refuses: a bug of ours."""

    message: Message


def refused(message: Message) -> Refused:
    return Refused(message)


class NextCycle:
    """The request and its reply are over; the connection turns to the next."""


NEXT_CYCLE = NextCycle()


@dataclass(frozen=True)
class Holds:
    """A claim about the connection at this point."""

    claim: Callable[[Connection], bool]


def holds(claim: Callable[[Connection], bool]) -> Holds:
    return Holds(claim)


Incoming = bytes | HalfClose
Expected = Event | Broke | RequestSeen | Wait
Action = Says | Refused | NextCycle | Holds


class Playbook:
    """State: the lines so far. A line of incoming bytes is followed by the events they must give."""

    def __init__(self, limits: CodecLimits | None = None) -> None:
        self._limits = limits or CodecLimits()
        self._lines: list[Incoming | Expected | Action] = []

    def __rshift__(self, incoming: Incoming) -> Playbook:
        self._lines.append(incoming)
        return self

    def __lshift__(self, line: Expected | Action) -> Playbook:
        self._lines.append(line)
        return self

    def run(self) -> None:
        in_all_feedings(self._play)

    def _play(self, split: Split) -> None:
        connection = Connection(self._limits)
        pending: list[Seen] = []
        waits: Wait | None = None
        for line in self._lines:
            if isinstance(line, bytes):
                assert not pending, f"not expected: {pending}"
                seen, waits = feed(connection, line, split)
                pending = joined(seen)
            elif isinstance(line, HalfClose):
                assert not pending, f"not expected: {pending}"
                connection.receive_eof()
                seen, waits = drain(connection)
                pending = joined(seen)
            elif isinstance(line, Wait):
                assert not pending, f"not expected: {pending}"
                assert waits is line
            elif isinstance(line, Says | Refused | NextCycle | Holds):
                assert not pending, f"not expected: {pending}"
                self._act(connection, line)
                if isinstance(line, Says | NextCycle):
                    seen, waits = drain(connection)
                    pending = joined(seen)
            else:
                assert pending, f"did not come: {line}"
                event = pending.pop(0)
                if isinstance(line, RequestSeen):
                    line.check(event)
                else:
                    assert event == line
        assert not pending, f"not expected: {pending}"

    def _act(self, connection: Connection, line: Action) -> None:
        if isinstance(line, Says):
            assert b"".join(connection.send(line.message)) == line.wire
        elif isinstance(line, Refused):
            before = connection.client, connection.server
            with pytest.raises(LocalProtocolError):
                connection.send(line.message)
            assert (connection.client, connection.server) == before
        elif isinstance(line, NextCycle):
            connection.start_next_cycle()
        else:
            assert line.claim(connection)
