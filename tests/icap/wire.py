"""Bytes as a client would write them."""

from __future__ import annotations

ISTAG = b"T-1"
GET = b"GET http://www.example.org/a.txt HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
POST = b"POST http://www.example.org/up HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\n"
CONTINUE_WIRE = b"ICAP/1.0 100 Continue\r\n\r\n"
NO_CONTENT_WIRE = b'ICAP/1.0 204 No modifications needed\r\nISTag: "T-1"\r\nEncapsulated: null-body=0\r\n\r\n'


def icap(method: str, *lines: str, path: str = "/echo") -> bytes:
    """An ICAP head with these header lines."""
    return "\r\n".join([f"{method} icap://icap.example:1344{path} ICAP/1.0", *lines, "", ""]).encode("latin-1")


def reqmod(*lines: str, http: bytes = POST, body: str = "req-body") -> bytes:
    return icap("REQMOD", f"Encapsulated: req-hdr=0, {body}={len(http)}", *lines) + http


def respmod(*lines: str, http_request: bytes = GET, http_response: bytes = OK, body: str = "res-body") -> bytes:
    ends = len(http_request), len(http_request) + len(http_response)
    value = f"Encapsulated: req-hdr=0, res-hdr={ends[0]}, {body}={ends[1]}"
    return icap("RESPMOD", value, *lines) + http_request + http_response


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


LAST = b"0\r\n\r\n"
IEOF = b"0; ieof\r\n\r\n"


def reply_wire(
    status: bytes, encapsulated: bytes, rest: bytes = b"", fields: bytes = b"", tag: bytes = ISTAG
) -> bytes:
    """A reply as it must look on the wire."""
    return b'ICAP/1.0 %b\r\nISTag: "%b"\r\n%bEncapsulated: %b\r\n\r\n%b' % (status, tag, fields, encapsulated, rest)
