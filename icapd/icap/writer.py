"""Replies as bytes (RFC 3507 §4.3.3, §4.4). Nothing follows the last byte of a reply: Squid checks that."""

from __future__ import annotations

from functools import lru_cache

from icapd.icap.events import Reply, Stream
from icapd.icap.status import STATUS_LINES

CONTINUE_BYTES = STATUS_LINES[100] + b"\r\n"
_NOTHING_ENCAPSULATED = b"Encapsulated: null-body=0\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=256)
def _start(status: int, istag: bytes, fields: bytes, closes: bool) -> bytes:
    """The lines that replies of one kind share; most fields are among few."""
    close = b"Connection: close\r\n" if closes else b""
    return b'%bISTag: "%b"\r\n%b%b' % (STATUS_LINES[status], istag, fields, close)


@lru_cache(maxsize=256)
def _bare_reply(status: int, istag: bytes, fields: bytes, closes: bool) -> bytes:
    return _start(status, istag, fields, closes) + _NOTHING_ENCAPSULATED


def render_reply(reply: Reply, closes: bool) -> list[bytes | memoryview]:
    """The whole reply, or its heads when the body is streamed."""
    body = reply.body
    http_head = reply.http_head
    if body is None and not http_head:
        return [_bare_reply(reply.status, reply.istag, reply.fields, closes)]
    start = _start(reply.status, reply.istag, reply.fields, closes)
    kind = b"req" if reply.http_is_request else b"res"
    header = b"%b-hdr=0, " % kind if http_head else b""
    body_kind = b"null" if body is None else kind
    head = b"%bEncapsulated: %b%b-body=%d\r\n\r\n%b" % (start, header, body_kind, len(http_head), http_head)
    if body is None or isinstance(body, Stream):
        return [head]
    if not body:
        return [head, render_end(reply.trailers)]
    return [head, b"%x\r\n" % len(body), body, b"\r\n" + render_end(reply.trailers)]


def render_chunk(data: bytes | memoryview) -> list[bytes | memoryview]:
    """One chunk; nothing for no data, as an empty chunk would end the body."""
    if not data:
        return []
    return [b"%x\r\n" % len(data), data, b"\r\n"]


def render_end(trailers: bytes) -> bytes:
    """The zero chunk with the trailer block, each of its lines with CRLF (errata e2)."""
    return b"0\r\n%b\r\n" % trailers if trailers else _LAST_CHUNK
