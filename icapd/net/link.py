"""What a transaction may ask of its connection, and the phases a connection goes through."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from icapd.icap import Connection, Message

LOCAL = "unix"
"""The peer's name on a Unix socket, where nobody has an address."""


class Phase(enum.IntEnum):
    """What a connection waits for; each has its time-out in `[timeouts]`."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    JUDGING = 3
    ANSWERING = 4
    DISCARDING = 5
    LINGERING = 6


class Producer(Protocol):
    """What writes when the transport has room (Twisted's IPullProducer and IPushProducer)."""

    def resumeProducing(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class Rest:
    """Waits for the end of what is written: the producer that a transport asks for more once it has sent it all."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self.resumeProducing = on_room

    def pauseProducing(self) -> None:
        """Not called: only push producers are."""

    def stopProducing(self) -> None:
        """The connection is lost, which the protocol hears too."""


class Link(Protocol):
    """The connection as a transaction sees it."""

    codec: Connection
    peer: str

    def send(self, message: Message, *more: Message) -> None:
        """Writes messages, as one piece when they are small."""

    def enter(self, phase: Phase) -> None:
        """Begins a phase; its clock starts anew."""

    def produce(self, producer: Producer, is_push: bool) -> None:
        """Lets `producer` write as the client reads."""

    def stop_producing(self) -> None:
        """Ends what `produce` began."""

    def pause_reading(self) -> None:
        """Lets the client wait."""

    def resume_reading(self) -> None:
        """Ends what `pause_reading` began."""

    def answered(self) -> None:
        """The reply is complete; the next request may begin."""

    def break_off(self) -> None:
        """Ends the connection in the middle of an answer, so that the client knows it is incomplete."""
