"""An ICAP reply as a client reads it: bytes in; head, body and end out. Pure, and strict as the server's codec is.

It shares the server's readings of header lines, Encapsulated and chunks; only what is a reply's own is here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from icapd.errors import PeerProtocolError
from icapd.icap.chunks import ChunkDecoder
from icapd.icap.encapsulated import NOTHING, Encapsulated, parse_encapsulated
from icapd.icap.head import parse_fields, unfold

HEAD_BYTES_MAX = 64 * 1024
HTTP_HEAD_BYTES_MAX = 1024 * 1024
_CHUNK_LINE_BYTES_MAX = 4096
_TRAILER_BYTES_MAX = 64 * 1024
_LINES_MAX = 1000
_CONTINUE = 100
_STATUS_LINE = re.compile(rb"ICAP/1\.[0-9]{1,3} ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*(?:\r\n[\t ][^\r\n]*)*)\r\n")
_HTTP_STATUS = re.compile(rb"HTTP/[0-9.]{1,4} ([0-9]{3})[ \r]")


class ReplyHead(NamedTuple):
    """The head of one reply: its headers in their order, unfolded, and the encapsulated heads as they came."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    encapsulated: Encapsulated
    http_head: bytes = b""

    def field(self, name: str) -> str | None:
        """The first value of a header; `name` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def is_request(self) -> bool:
        """Whether an HTTP request came back, and no HTTP response."""
        return self.encapsulated.req_bytes is not None

    @property
    def http_status(self) -> int | None:
        """The status of the encapsulated HTTP response, if there is one."""
        match = _HTTP_STATUS.match(self.http_head) if self.encapsulated.res_bytes else None
        return None if match is None else int(match[1])


class ReplyReader:
    """Reads one reply, and the 100 Continue before it.

    State: `head` once the reply's heads are whole; `may_continue` after a 100 until it is asked; `is_finished` at the
    end of the reply.
    """

    def __init__(self) -> None:
        self.head: ReplyHead | None = None
        self.may_continue = False
        self.is_finished = False
        self._buffer = b""
        self._chunks = ChunkDecoder(_CHUNK_LINE_BYTES_MAX, _TRAILER_BYTES_MAX, _LINES_MAX)

    def receive(self, data: bytes) -> bytes:
        """Takes what came. Returns: the bytes of the HTTP body in it.

        Raises: PeerProtocolError for what is no ICAP reply, and for bytes behind its end.
        """
        self._buffer += data
        while self.head is None or self.head.status == _CONTINUE:
            if not self._read_head():
                return b""
        body = self._read_body(self.head)
        if self.is_finished and self._buffer:
            raise PeerProtocolError("bytes behind the end of the reply")
        return body

    def take_continue(self) -> bool:
        """Whether a 100 Continue came since this was last asked."""
        came, self.may_continue = self.may_continue, False
        return came

    def _read_head(self) -> bool:
        """Reads the ICAP head and the encapsulated heads, when they are whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer) - 3) > HEAD_BYTES_MAX:
            raise PeerProtocolError("head too long")
        if end < 0:
            if self._buffer and not b"ICAP/".startswith(self._buffer[:5]):
                raise PeerProtocolError("not an ICAP reply")
            return False
        head = _parse_head(self._buffer[: end + 2])
        http_end = end + 4 + head.encapsulated.header_bytes
        if head.encapsulated.header_bytes > HTTP_HEAD_BYTES_MAX:
            raise PeerProtocolError("encapsulated head too long")
        if len(self._buffer) < http_end:
            return False
        self.head = head._replace(http_head=self._buffer[end + 4 : http_end])
        self._buffer = self._buffer[http_end:]
        if head.status == _CONTINUE:
            if self.may_continue:
                raise PeerProtocolError("100 Continue twice")
            self.may_continue = True
        return True

    def _read_body(self, head: ReplyHead) -> bytes:
        if not head.encapsulated.has_body:
            self.is_finished = True
            return b""
        body, position = self._chunks.decode(self._buffer, 0)
        self._buffer = self._buffer[position:]
        self.is_finished = self._chunks.is_finished
        return body


def _parse_head(block: bytes) -> ReplyHead:
    match = _STATUS_LINE.match(block)
    if match is None:
        raise PeerProtocolError("not an ICAP reply")
    fields = block[match.end() :]
    parse_fields(fields, _LINES_MAX)
    headers = tuple(
        (name.decode("latin-1"), unfold(value).decode("latin-1")) for name, value in _FIELD.findall(fields)
    )
    values = [value.encode("latin-1") for name, value in headers if name.lower() == "encapsulated"]
    if len(values) > 1:
        raise PeerProtocolError("Encapsulated stands twice")
    encapsulated = parse_encapsulated(values[0], _sections_of(values[0])) if values else NOTHING
    return ReplyHead(int(match[1]), (match[2] or b"").decode("latin-1"), headers, encapsulated)


def _sections_of(value: bytes) -> str:
    """The method whose sections a reply has: its kind of content decides, not what was asked."""
    kind = value[:4].lower()
    return "REQMOD" if kind == b"req-" else "OPTIONS" if kind == b"opt-" else "RESPMOD"
