"""Sends the client its own body back: as much of it as may go before a verdict, then the rest, or all as it comes.

Knows nothing of verdicts: it is told how far it may go.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from icapd.errors import SpoolError
from icapd.icap import REPLY_END, Reply, ReplyData, ReplyEnd
from icapd.net.link import Link, Phase
from icapd.scan.spool import Body

_PIECE_BYTES = 128 * 1024


class _State(enum.Enum):
    HELD = "HELD"
    """The head is out, and what was granted of the body; the rest waits for a verdict."""
    FLOWING = "FLOWING"
    """What is spooled goes out as the client reads it, then what comes in."""
    ENDED = "ENDED"


class Echo:
    """One streamed echo.

    A body that passes through is spooled while the client does not read: many clients write all of it before they
    read, and would wait for us as we for them. Only when the spool is full does the client wait.

    State: `sent_bytes` of the spooled body are out, `early_bytes` of them before the verdict; `_granted_bytes` may go
    before it; `_end` is set once the end of the message may follow; `_unspooled` is what the spool did not take, and
    no more is read while there is any.
    """

    def __init__(self, link: Link, head: Reply, body: Body, open_body: Callable[[], Body]) -> None:
        self._link = link
        self._body = body.retain()
        self._open_body = open_body
        self._state = _State.HELD
        self._end: ReplyEnd | None = None
        self._is_producing = False
        self._is_congested = False
        self._unspooled: list[bytes] = []
        self._granted_bytes = 0
        self.sent_bytes = 0
        self.early_bytes = 0
        link.send(head)

    def drip(self) -> bool:
        """Sends one more byte of what is spooled, but never the last that is known; False when there is none."""
        if self._state is not _State.HELD or self.sent_bytes + 1 >= self._body.size_bytes:
            return False
        self._send_early(self._body.read(self.sent_bytes, 1))
        return True

    def grant(self, first_bytes: int) -> None:
        """So much of the body may go before the verdict, as the client reads it."""
        if self._state is _State.HELD and first_bytes > self.sent_bytes:
            self._granted_bytes = first_bytes
            self._produce()
            self._pump_early()

    def finish(self, trailers: bytes) -> None:
        """The body is whole and may go: sends what is left of it, then the end."""
        self._end = ReplyEnd(trailers) if trailers else REPLY_END
        self._link.enter(Phase.ANSWERING)
        self.pass_on()

    def pass_on(self) -> None:
        """The body may go: sends what is spooled, then each piece as it comes."""
        if self._state is _State.HELD:
            self._state = _State.FLOWING
            self._produce()
        if self._state is _State.FLOWING:
            self._pump()

    def feed(self, data: bytes) -> None:
        """A piece that came in behind the spooled part."""
        if self._state is not _State.FLOWING or not data:
            return
        if not self._is_congested and self.sent_bytes >= self._body.size_bytes and not self._unspooled:
            self._link.send(ReplyData(data))
        elif self._unspooled or not self._spool(data):
            self._unspooled.append(data)
            self._link.pause_reading()

    def abandon(self) -> None:
        """Lets the body go; nothing more will be sent."""
        if self._state is not _State.ENDED:
            self._state = _State.ENDED
            self._body.release()

    def _spool(self, data: bytes) -> bool:
        try:
            self._body.append(data)
        except SpoolError:
            return False
        return True

    # Twisted calls these as the client reads

    def resumeProducing(self) -> None:
        """There is room to write."""
        self._is_congested = False
        if self._state is _State.FLOWING:
            self._link.enter(Phase.BODY if self._end is None else Phase.ANSWERING)
            self._pump()
        elif self._state is _State.HELD:
            self._pump_early()

    def pauseProducing(self) -> None:
        """The client does not read as fast as we write. Before the verdict its body has the clock, not our answer."""
        self._is_congested = True
        if self._state is _State.FLOWING:
            self._link.enter(Phase.ANSWERING)

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.abandon()

    def _produce(self) -> None:
        if not self._is_producing:
            self._is_producing = True
            self._link.produce(self, is_push=True)

    def _pump_early(self) -> None:
        while not self._is_congested and self._state is _State.HELD and self.sent_bytes < self._granted_bytes:
            piece = self._body.read(self.sent_bytes, min(_PIECE_BYTES, self._granted_bytes - self.sent_bytes))
            if not piece:
                return
            self._send_early(piece)

    def _send_early(self, piece: bytes) -> None:
        self.sent_bytes += len(piece)
        self.early_bytes += len(piece)
        self._link.send(ReplyData(piece))

    def _pump(self) -> None:
        while not self._is_congested and (piece := self._body.read(self.sent_bytes, _PIECE_BYTES)):
            self.sent_bytes += len(piece)
            self._link.send(ReplyData(piece))
        if self._is_congested:
            return
        if self._unspooled:
            pieces, self._unspooled = self._unspooled, []
            self._link.send(*[ReplyData(piece) for piece in pieces])
            self._link.resume_reading()
        if self._end is not None:
            self._complete(self._end)
        elif self._body.size_bytes:
            self._body.release()
            self._body = self._open_body()
            self.sent_bytes = 0

    def _complete(self, end: ReplyEnd) -> None:
        self._link.stop_producing()
        self.abandon()
        self._link.send(end)
        self._link.answered()
