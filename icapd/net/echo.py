"""Sends the client its own body back: from the spool as it reads, byte by byte while it stalls, or as it comes.

Knows nothing of verdicts: it is told when it may go on.
"""

from __future__ import annotations

import enum

from icapd.icap import REPLY_END, Reply, ReplyData, ReplyEnd
from icapd.net.link import Link
from icapd.scan.spool import Body

_PIECE_BYTES = 128 * 1024


class _State(enum.Enum):
    HELD = "HELD"
    """The head and perhaps some drips are out; the rest waits for a verdict."""
    SPOOLED = "SPOOLED"
    """What the spool holds goes out as the client reads it."""
    LIVE = "LIVE"
    """The spool is out; what comes in goes out."""
    ENDED = "ENDED"


class Echo:
    """One streamed echo.

    State: `sent_bytes` of the spooled body are out; `_end` is set once the end of the message may follow.
    """

    def __init__(self, link: Link, head: Reply, body: Body) -> None:
        self._link = link
        self._body = body.retain()
        self._state = _State.HELD
        self._end: ReplyEnd | None = None
        self._is_congested = False
        self._pending: list[bytes] = []
        self.sent_bytes = 0
        self.dripped_bytes = 0
        link.send(head)

    def drip(self) -> bool:
        """Sends one more byte of what is spooled; False when there is none."""
        piece = self._body.read(self.sent_bytes, 1)
        if not piece:
            return False
        self.sent_bytes += 1
        self.dripped_bytes += 1
        self._link.send(ReplyData(piece))
        return True

    def finish(self, trailers: bytes) -> None:
        """The body is whole and may go: sends what is left of it, then the end."""
        self._end = ReplyEnd(trailers) if trailers else REPLY_END
        if self._state is _State.LIVE:
            self._complete()
        elif self._state is _State.HELD:
            self._send_spooled()

    def pass_on(self) -> None:
        """The body may go though it is not whole: sends what is spooled, then each piece as it comes."""
        self._link.pause_reading()
        self._send_spooled()

    def feed(self, data: bytes) -> None:
        """A piece that came in behind the spooled part."""
        if self._state is _State.LIVE:
            self._link.send(ReplyData(data))
        elif data:
            self._pending.append(data)

    def abandon(self) -> None:
        """Lets the body go; nothing more will be sent."""
        if self._state is not _State.ENDED:
            self._state = _State.ENDED
            self._body.release()

    def _send_spooled(self) -> None:
        self._state = _State.SPOOLED
        self._link.produce(self, is_push=False)

    # Twisted calls these as the client reads

    def resumeProducing(self) -> None:
        """There is room to write."""
        if self._state is _State.LIVE:
            self._is_congested = False
            self._link.resume_reading()
            return
        if self._state is not _State.SPOOLED:
            return
        piece = self._body.read(self.sent_bytes, _PIECE_BYTES)
        if piece:
            self.sent_bytes += len(piece)
            self._link.send(ReplyData(piece))
        if self.sent_bytes >= self._body.size_bytes:
            self._link.stop_producing()
            self._after_spooled()

    def pauseProducing(self) -> None:
        """The client does not read as fast as it sends: it may send no more until it does."""
        if self._state is _State.LIVE and not self._is_congested:
            self._is_congested = True
            self._link.pause_reading()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.abandon()

    def _after_spooled(self) -> None:
        pending, self._pending = self._pending, []
        self._link.send(*[ReplyData(piece) for piece in pending])
        if self._end is not None:
            self._complete()
            return
        self._state = _State.LIVE
        self._link.produce(self, is_push=True)
        self._link.resume_reading()

    def _complete(self) -> None:
        if self._state is _State.LIVE:
            self._link.stop_producing()
        self.abandon()
        self._link.send(self._end or REPLY_END)
        self._link.answered()
