"""What one HTTP request asks for, read from its head: a scan, the description of this interface, or a refusal.

Framing is h11's. Nothing here looks into a body.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

import h11

from icapd.config.schema import SCAN_PATH
from icapd.errors import PeerProtocolError
from icapd.icap.http import HttpHead
from icapd.net.http_access import Tokens
from icapd.net.http_form import read_parameters

DESCRIPTION_PATH: Final = "/openapi.json"
NAME_CHARACTERS_MAX: Final = 1024
_METHODS: Final = {SCAN_PATH: b"POST", DESCRIPTION_PATH: b"GET, HEAD"}
_ORIGIN = re.compile(rb"\Ahttps?://[^/?#]+(?=[/?]|\Z)", re.IGNORECASE)
"""Of a target in absolute form, which is to be accepted as well (RFC 9112 §3.2.2)."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_MEDIA_TYPE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,127}/[!#$%&'*+.^_`|~0-9A-Za-z-]{1,127}[ \t]*(?:;.*)?")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""Spec: RFC 2046 §5.1.1."""


class Refusal(NamedTuple):
    """An answer without a scan."""

    status: int
    detail: str
    fields: tuple[tuple[str, str], ...] = ()


class ScanRequest(NamedTuple):
    """A wish for a verdict. `boundary` is set for a multipart upload, whose files have heads of their own.

    `head` are the request's header lines as an HTTP head; `values`, by lower-case name.
    """

    head: HttpHead
    values: dict[bytes, bytes]
    name: str
    status_only: bool
    boundary: bytes | None
    length_bytes: int | None


class Description(NamedTuple):
    """A wish for the OpenAPI description."""


def check_framing(request: h11.Request) -> None:
    """Refuses a head that two receivers could frame in two ways, and the connection with it: one of them might take
    what follows for another request.

    Raises: h11.RemoteProtocolError.
    Spec: RFC 9112 §6.1, §6.3.
    """
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise h11.RemoteProtocolError("Content-Length beside Transfer-Encoding")
        if request.http_version < b"1.1":
            raise h11.RemoteProtocolError("HTTP/1.0 has no Transfer-Encoding")


def read_request(request: h11.Request, tokens: Tokens, head_bytes_max: int) -> ScanRequest | Description | Refusal:
    """What to do with a request, by its head alone."""
    if _size_of(request) > head_bytes_max:  # h11 measures those that do not come at once
        return Refusal(431, f"the head is larger than {head_bytes_max} bytes")
    target, _, query = _ORIGIN.sub(b"", request.target, count=1).partition(b"?")
    path = target.decode("ascii", "backslashreplace")
    methods = _METHODS.get(path)
    if methods is None:
        return Refusal(404, f"there is only {SCAN_PATH} and {DESCRIPTION_PATH}")
    if request.method not in methods.split(b", "):
        allowed = methods.decode("ascii")
        return Refusal(405, f"{path} takes {allowed}", (("Allow", allowed),))
    if path == DESCRIPTION_PATH:
        return Description()
    values = _values(request)
    if not tokens.allow(values.get(b"authorization")):
        error = ', error="invalid_token"' if b"authorization" in values else ""
        return Refusal(401, "needs a bearer token", (("WWW-Authenticate", f'Bearer realm="icapd"{error}'),))
    return _read_scan(request, values, query)


def _size_of(request: h11.Request) -> int:
    """Of the head as it was sent, but for blanks that mean nothing."""
    line = len(request.method) + len(request.target) + len(b"  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in request.headers) + len(b"\r\n")


def _values(request: h11.Request) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for name, value in request.headers:
        values[name] = values[name] + b", " + value if name in values else value
    return values


def _read_scan(request: h11.Request, values: dict[bytes, bytes], query: bytes) -> ScanRequest | Refusal:
    wishes = _read_query(query)
    if isinstance(wishes, Refusal):
        return wishes
    from_header = unquote(values.get(b"x-filename", b"").decode("utf-8", "replace"))
    name = wishes.get("filename", from_header)
    if max(len(name), len(from_header)) > NAME_CHARACTERS_MAX:
        return Refusal(400, f"the file's name has more than {NAME_CHARACTERS_MAX} characters")
    head = head_of([(key.title(), value) for key, value in request.headers])
    if [name for name, _ in request.headers].count(b"content-type") > 1:
        return Refusal(415, "Content-Type stands twice")
    boundary = _read_type(values.get(b"content-type"), head)
    if isinstance(boundary, Refusal):
        return boundary
    length = values.get(b"content-length", b"")
    return ScanRequest(
        head,
        values,
        name,
        wishes.get("answer") == "status",
        boundary,
        int(length) if _LENGTH.fullmatch(length) else None,
    )


def _read_query(query: bytes) -> dict[str, str] | Refusal:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=2)
    except ValueError:
        return Refusal(400, "the query wants answer=json or answer=status, and filename=NAME")
    wishes = dict(pairs)
    if len(wishes) < len(pairs) or wishes.keys() - {"answer", "filename"}:
        return Refusal(400, "the query knows answer and filename, each once")
    if wishes.get("answer", "json") not in ("json", "status"):
        return Refusal(400, "answer is json or status")
    return wishes


def _read_type(value: bytes | None, head: HttpHead) -> bytes | Refusal | None:
    """The boundary of a multipart upload; None for a body that is one file."""
    if value is not None and _MEDIA_TYPE.fullmatch(value) is None:
        return Refusal(415, "Content-Type is no media type")
    if not any(each.startswith("multipart/") for each in head.media_types):
        return None
    if head.media_type != "multipart/form-data":
        return Refusal(415, "of multipart types, multipart/form-data alone is opened here")
    if head.content_coding:
        return Refusal(415, "a multipart upload is taken without Content-Encoding")
    try:
        boundary = read_parameters((value or b"").decode("latin-1")).get("boundary", "")
    except PeerProtocolError as error:
        return Refusal(400, f"Content-Type: {error}")
    if _BOUNDARY.fullmatch(boundary) is None:
        return Refusal(400, "multipart/form-data needs a boundary")
    return boundary.encode("ascii")


def head_of(fields: list[tuple[bytes, bytes]]) -> HttpHead:
    """Header lines as the codec's lazy reader of HTTP heads wants them."""
    return HttpHead(b"POST\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n")
