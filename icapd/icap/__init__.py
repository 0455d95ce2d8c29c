"""ICAP (RFC 3507) without I/O: bytes in, events out; messages in, bytes out.

    state         two literal tables: what the client may do next, what we may do next
    connection    one connection: reads heads and bodies, checks each step, writes replies
    events        the values that go in and out
    head          the request line and header lines, strictly
    encapsulated  which sections a message has, and where
    chunks        the chunked coding, previews, ieof, trailers
    writer        replies as bytes
    reply         the same as a client reads them
    http          a lazy look into the encapsulated HTTP heads, which stay bytes

No clock, socket, file, log or Twisted in here; a test checks the imports. Codecs of peers were broken by leniency, so
this one is strict in and exact out: what it does not understand it refuses, and what it returns unchanged is the very
bytes that came.
"""

from icapd.icap.connection import METHODS, CodecLimits, Connection
from icapd.icap.events import (
    CONTINUE,
    PREVIEW_END,
    REPLY_END,
    STREAM,
    BodyData,
    Continue,
    EndOfMessage,
    Event,
    Message,
    PeerClosed,
    PreviewEnd,
    Reply,
    ReplyData,
    ReplyEnd,
    RequestHead,
    Wait,
)

__all__ = [
    "CONTINUE",
    "METHODS",
    "PREVIEW_END",
    "REPLY_END",
    "STREAM",
    "BodyData",
    "CodecLimits",
    "Connection",
    "Continue",
    "EndOfMessage",
    "Event",
    "Message",
    "PeerClosed",
    "PreviewEnd",
    "Reply",
    "ReplyData",
    "ReplyEnd",
    "RequestHead",
    "Wait",
]
