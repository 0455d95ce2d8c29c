"""What the codec reports (events) and what it is asked to send (messages). Values only.

Events come out of `Connection.next_event`; messages go into `Connection.send`.
"""

from __future__ import annotations

import enum

import msgspec

from icapd.icap.encapsulated import Encapsulated


class Wait(enum.Enum):
    """Why `next_event` has no event."""

    NEED_DATA = "NEED_DATA"
    """More bytes from the client are needed."""
    PAUSED = "PAUSED"
    """It is our turn: the preview waits for a decision, or the message is over and its reply is not."""


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A whole ICAP request head with its encapsulated HTTP heads.

    `fields` is the raw ICAP header block, each line with its CRLF, and `values` the same by lower-case name. The HTTP
    heads are the bytes as they came, with their final blank line; empty when the client sent none (RFC 3507 §4.4,
    errata e4).
    """

    method: str
    path: str
    fields: bytes
    values: dict[bytes, bytes]
    encapsulated: Encapsulated
    http_request: bytes = b""
    http_response: bytes = b""
    preview_bytes: int | None = None
    allow_204: bool = False
    allow_206: bool = False
    allow_trailers: bool = False
    wants_close: bool = False

    @property
    def has_body(self) -> bool:
        return self.encapsulated.has_body

    def field(self, name: bytes) -> bytes | None:
        """The value of an ICAP header, unfolded and stripped, or None. `name` in lower case."""
        return self.values.get(name)


class BodyData(msgspec.Struct, frozen=True, gc=False):
    """Dechunked body bytes, as many as one read brought."""

    data: bytes


class PreviewEnd(msgspec.Struct, frozen=True, gc=False):
    """The preview is over and more body exists: send `Continue` or a final reply (RFC 3507 §4.5)."""


class EndOfMessage(msgspec.Struct, frozen=True, gc=False):
    """The request is complete. `trailers` is the raw HTTP trailer block, each line with its CRLF, or empty."""

    trailers: bytes = b""


class PeerClosed(msgspec.Struct, frozen=True, gc=False):
    """The client sends no more. `mid_message` says that it left a request unfinished."""

    mid_message: bool = False


PREVIEW_END = PreviewEnd()
END_OF_MESSAGE = EndOfMessage()

Event = RequestHead | BodyData | PreviewEnd | EndOfMessage | PeerClosed


class Continue(msgspec.Struct, frozen=True, gc=False):
    """100 Continue: send the rest after the preview."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A final reply. Its ISTag goes into every one of them (RFC 3507 §4.7).

    `fields` are further ICAP header lines, each with CRLF. `http_head` is the encapsulated HTTP head, exact bytes;
    `http_is_request` says which kind it is. `body`: None = no body follows; bytes = the whole body; STREAM =
    `ReplyData` messages and a `ReplyEnd` follow.
    """

    status: int
    istag: bytes
    fields: bytes = b""
    http_head: bytes = b""
    http_is_request: bool = False
    body: bytes | Stream | None = None
    trailers: bytes = b""
    close: bool = False


class Stream(enum.Enum):
    """Marks a reply whose body follows in pieces."""

    STREAM = "STREAM"


STREAM = Stream.STREAM


class ReplyData(msgspec.Struct, frozen=True, gc=False):
    """A piece of a streamed reply body; sent as one chunk."""

    data: bytes | memoryview


class ReplyEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a streamed reply body, with the HTTP trailers to give back (errata e2)."""

    trailers: bytes = b""


CONTINUE = Continue()
REPLY_END = ReplyEnd()

Message = Continue | Reply | ReplyData | ReplyEnd
