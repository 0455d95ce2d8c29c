"""What another ICAP server is asked, as bytes (RFC 3507 §4.8, §4.10). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from icapd.config.address import ICAP_PORT, ICAPS_PORT, Endpoint, parse_server
from icapd.icap.writer import render_chunk, render_end
from icapd.scan.engine_api import RemoteBody

PIECE_BYTES: Final = 128 * 1024
_PATH = re.compile(r"/[!-~]*")
_CODING = re.compile(r"[a-z0-9!#$%&'*+.^_`|~, -]{1,100}")


class Service(NamedTuple):
    """Where a service is: its server, and what stands in requests."""

    server: Endpoint
    host: bytes
    url: bytes
    is_tls: bool


def parse_url(text: str) -> Service:
    """Raises: ValueError for anything but icap://HOST[:PORT]/PATH and icaps://HOST[:PORT]/PATH."""
    parts = urlsplit(text)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if parts.fragment or _PATH.fullmatch(path) is None:
        raise ValueError("wants icap://HOST:PORT/PATH, or icaps://")
    is_tls = parts.scheme == "icaps"
    scheme, port = ("icaps", ICAPS_PORT) if is_tls else ("icap", ICAP_PORT)
    server = parse_server(f"{parts.scheme}://{parts.netloc}", scheme, port)
    host = str(server).encode("ascii")
    return Service(server, host, f"{scheme}://{server}{path}".encode("ascii"), is_tls)


def options_request(service: Service) -> bytes:
    return b"%bEncapsulated: null-body=0\r\n\r\n" % _head(b"OPTIONS", service)


def respmod_head(service: Service, body: RemoteBody, preview_bytes: int | None) -> bytes:
    """The ICAP head and the encapsulated heads. The URL is the body's digest, under a name that nobody can have."""
    request = b"GET http://icapd.invalid/%b HTTP/1.1\r\nHost: icapd.invalid\r\n\r\n" % body.sha256.hex().encode()
    coding = b"Content-Encoding: %b\r\n" % body.coding.encode() if _CODING.fullmatch(body.coding) else b""
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n%b\r\n" % (
        body.size_bytes,
        coding,
    )
    preview = b"" if preview_bytes is None else b"Preview: %d\r\n" % preview_bytes
    encapsulated = b"req-hdr=0, res-hdr=%d, res-body=%d" % (len(request), len(request) + len(response))
    head = _head(b"RESPMOD", service)
    return b"%bAllow: 204\r\n%bEncapsulated: %b\r\n\r\n%b%b" % (head, preview, encapsulated, request, response)


def preview_of(body: RemoteBody, preview_bytes: int) -> bytes:
    """The start of the body as one message, and whether that is all of it."""
    end = b"0; ieof\r\n\r\n" if body.size_bytes <= preview_bytes else render_end(b"")
    return b"".join(render_chunk(body.read(0, preview_bytes))) + end


def chunks_of(body: RemoteBody, offset: int) -> Iterator[bytes]:
    """The body from there on."""
    while piece := body.read(offset, PIECE_BYTES):
        yield b"".join(render_chunk(piece))
        offset += len(piece)
    yield render_end(b"")


def _head(method: bytes, service: Service) -> bytes:
    return b"%b %b ICAP/1.0\r\nHost: %b\r\nUser-Agent: icapd\r\n" % (method, service.url, service.host)
