"""Our side of a conversation: answers whatever the client asks, so that all its bytes are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from icapd.icap import (
    CONTINUE,
    BodyData,
    Connection,
    EndOfMessage,
    Message,
    PeerClosed,
    PreviewEnd,
    Reply,
    RequestHead,
    Wait,
)
from tests.icap.feeding import Broke, Seen, Split, drain
from tests.icap.wire import ISTAG


@dataclass
class Conversation:
    """Continues previews when told to, and echoes every request once it is over.

    State: `seen` is every event so far, `sent` every byte of ours; a conversation that `ended` takes no more.
    """

    connection: Connection
    continues: bool
    seen: list[Seen] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    ended: bool = False
    _head: RequestHead | None = None
    _body: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes, split: Split) -> None:
        for piece in split(data):
            if self.ended:
                break
            self.connection.receive_data(piece)
            self.go_on()

    def go_on(self) -> None:
        """Reads and answers until the client must send more."""
        while not self.ended:
            events, waits = drain(self.connection)
            self.seen += events
            for event in events:
                self._take(event)
            if waits is Wait.NEED_DATA or self.ended:
                break
            self._answer(events[-1] if events else None)

    def _take(self, event: Seen) -> None:
        if isinstance(event, RequestHead):
            self._head, self._body = event, []
        elif isinstance(event, BodyData):
            self._body.append(event.data)
        elif isinstance(event, Broke | PeerClosed):
            self.ended = True

    def _answer(self, event: Seen | None) -> None:
        assert isinstance(event, RequestHead | PreviewEnd | EndOfMessage), f"no turn of ours after {event}"
        if isinstance(event, PreviewEnd) and self.continues:
            self._send(CONTINUE)
            return
        self._send(self._echo(event))
        if self.connection.must_close:
            self.ended = True
        else:
            self.connection.start_next_cycle()

    def _echo(self, event: Seen) -> Reply:
        head = self._head
        assert head is not None
        if head.method == "OPTIONS" or isinstance(event, PreviewEnd):
            return Reply(200, ISTAG)
        is_request = head.method == "REQMOD"
        return Reply(
            200,
            ISTAG,
            http_head=head.http_request if is_request else head.http_response,
            http_is_request=is_request,
            body=b"".join(self._body) if head.has_body else None,
            trailers=event.trailers if isinstance(event, EndOfMessage) else b"",
        )

    def _send(self, message: Message) -> None:
        self.sent += [bytes(piece) for piece in self.connection.send(message)]
