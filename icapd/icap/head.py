"""ICAP heads: the request line, header lines, and the few headers that steer the connection.

Strict in: CRLF only, no NUL, no bare CR, no space before a colon (RFC 3507 §4.3, RFC 9112 §5). Folding is accepted on
input, as some clients still fold. Heads stay bytes; nothing is parsed that nobody asked for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from icapd.errors import PeerProtocolError

METHODS = frozenset({"OPTIONS", "REQMOD", "RESPMOD"})

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_NAME = re.compile(rb"%b+" % _TOKEN)
_TEXT_BYTES = bytes({*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)})
_REQUEST_LINE = re.compile(rb"(%b{1,64}) ([\x21-\x7e]+) ICAP/([0-9]{1,3})\.[0-9]{1,3}" % _TOKEN)
_TARGET = re.compile(rb"(?!\?)(?:(?i:icaps?)://[^/?#]*)?(/[^?#]*|\*)?(?:\?[^#]*)?")
_FOLD = re.compile(rb"\r\n[\t ]+")
_UNRESERVED = re.compile(rb"%(2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)
_DIGITS_MAX = 15
_BAD_REQUEST = 400
_FOLDING = (b" ", b"\t")
_HARMLESS_CODINGS = (b"chunked", b"identity")
_TARGET_BYTES_MAX = 4096
_CACHED_BYTES_MAX = 256
"""Longer values are read anew each time: a cache must not keep what a peer can make as long as a head."""
_SINGLE = frozenset({b"encapsulated", b"preview", b"transfer-encoding", b"host"})
_USUAL_NAMES = {
    name.encode(): name.lower().encode()
    for name in (
        *("Host", "Date", "Encapsulated", "Preview", "Allow", "Connection", "User-Agent", "Transfer-Encoding"),
        *("X-Client-IP", "X-Server-IP", "X-Client-Username", "X-Authenticated-User", "X-Authenticated-Groups"),
    )
}
"""Names as clients spell them, so that they need no check and no folding of case."""


_KNOWN_LINES_MAX = 8192
_known_lines: dict[bytes, tuple[bytes, bytes]] = {}
"""Header lines read before: gateways repeat nearly all of theirs from request to request. Usual names alone, so that
no credential stays here; emptied when full, so that no peer fills memory."""


def parse_fields(block: bytes, count_limit: int) -> dict[bytes, bytes]:
    """Header lines, each with its CRLF, as values by lower-case name; unfolded and stripped.

    Several lines of one name are one comma list (RFC 9110 §5.3).

    Raises: PeerProtocolError for lines that are not well formed, too many of them, or a framing header twice.
    """
    lines = block.split(b"\r\n")
    if lines.pop():
        raise PeerProtocolError("a header line without its end")
    if len(lines) > count_limit:
        raise PeerProtocolError("too many header lines")
    try:
        values = dict(map(_known_lines.__getitem__, lines))
    except KeyError:
        return _parse_lines(block)
    return values if len(values) == len(lines) else _parse_lines(block)


def _parse_lines(block: bytes) -> dict[bytes, bytes]:
    count = block.count(b"\r\n")
    if block.count(b"\r") != count or block.count(b"\n") != count or block.translate(None, _TEXT_BYTES):
        raise PeerProtocolError("a control character in a header line")
    if b"\r\n " in block or b"\r\n\t" in block:
        block = _FOLD.sub(b" ", block)
    values: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n")[:-1]:
        key, value = _parse_line(line)
        if key not in values:
            values[key] = value
        elif key in _SINGLE:
            raise PeerProtocolError(f"{key.decode()} stands twice")
        else:
            values[key] = b"%b,%b" % (values[key], value)
    return values


def _parse_line(line: bytes) -> tuple[bytes, bytes]:
    """One line, unfolded and free of control characters, as lower-case name and value."""
    name, colon, value = line.partition(b":")
    if not colon:
        raise PeerProtocolError("a header line without a colon")
    key = _USUAL_NAMES.get(name)
    if key is None:
        if _NAME.fullmatch(name) is None:
            raise PeerProtocolError("malformed header name")
        return name.lower(), value.strip()
    field = key, value.strip()
    if len(line) <= _CACHED_BYTES_MAX:
        if len(_known_lines) >= _KNOWN_LINES_MAX:
            _known_lines.clear()
        _known_lines[line] = field
    return field


class Steering(NamedTuple):
    """What the headers say that steer a message."""

    preview_bytes: int | None
    allow_204: bool
    allow_206: bool
    allow_trailers: bool
    wants_close: bool


def read_steering(
    preview: bytes | None, allow: bytes | None, connection: bytes | None, coding: bytes | None
) -> Steering:
    """Reads Preview, Allow, Connection and Transfer-Encoding. Raises: PeerProtocolError."""
    if coding is not None and coding.lower() not in _HARMLESS_CODINGS:
        # ICAP has no transfer codings of its own (RFC 3507 §4.3.1); Nextcloud says `chunked`, which is harmless.
        raise PeerProtocolError("Transfer-Encoding in an ICAP head")
    allowed = _tokens(allow or b"")
    return Steering(
        None if preview is None else parse_number(preview, "Preview"),
        b"204" in allowed,
        b"206" in allowed,
        b"trailers" in allowed,
        b"close" in _tokens(connection or b""),
    )


_KNOWN_STEERING_MAX = 256
_known_steering: dict[tuple[bytes | None, ...], Steering] = {}


def steering_of(values: dict[bytes, bytes]) -> Steering:
    """What steers the message among its fields; what is short is read once and known from then on."""
    get = values.get
    key = get(b"preview"), get(b"allow"), get(b"connection"), get(b"transfer-encoding")
    steering = _known_steering.get(key)
    if steering is None:
        steering = read_steering(*key)
        if sum(map(len, filter(None, key))) <= _CACHED_BYTES_MAX:
            if len(_known_steering) >= _KNOWN_STEERING_MAX:
                _known_steering.clear()
            _known_steering[key] = steering
    return steering


def _tokens(value: bytes) -> frozenset[bytes]:
    """The members of a comma list in lower case: `204, 206, trailers`."""
    return frozenset(token.strip(b" \t").lower() for token in value.split(b","))


def unfold(value: bytes) -> bytes:
    """A header value without obsolete folding and surrounding white space."""
    if b"\r" in value:
        value = _FOLD.sub(b" ", value)
    return value.strip(b" \t")


@lru_cache(maxsize=512)
def read_request_line(line: bytes) -> tuple[str, str]:
    """The method and the service's path: any host, scheme icap or icaps or none, query arguments ignored.

    Raises: PeerProtocolError 400 when it is not a request line, 505 for another ICAP version than 1.x, 501 for a
    method that ICAP does not have.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise PeerProtocolError("malformed request line")
    method_bytes, target, major = match.groups()
    if major != b"1":
        raise PeerProtocolError("ICAP version not supported", status_hint=505)
    method = method_bytes.decode("ascii")
    if method not in METHODS:
        raise PeerProtocolError(f"unknown method {method}", status_hint=501)
    if len(target) > _TARGET_BYTES_MAX:
        raise PeerProtocolError("service URI too long")
    path = _TARGET.fullmatch(target)
    if path is None:
        raise PeerProtocolError("malformed service URI")
    # An escaped letter is the letter (RFC 3986 §6.2.2.2); other escapes stay, as no configured path has them.
    plain = _UNRESERVED.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), path[1] or b"/")
    return method, plain.decode("ascii")


def check_unfinished(buffer: bytes, start: int, known: int) -> None:
    """Refuses what can never become a head before its end comes: mostly another protocol, or lines without CR.

    Only with the status that the whole head would get: of an unknown method or version it says nothing yet.
    Args: `known` is where it had looked before.

    Raises: PeerProtocolError.
    """
    line_end = buffer.find(b"\r\n", start)
    if line_end >= 0:
        try:
            read_request_line(buffer[start:line_end])
        except PeerProtocolError as error:
            if error.status_hint != _BAD_REQUEST:
                return
            raise
    news = buffer[known:]
    if news.translate(None, _TEXT_BYTES) or news.count(b"\n") != buffer.count(b"\r\n", max(known - 1, start)):
        raise PeerProtocolError("a control character in a head")


def parse_number(value: bytes, what: str) -> int:
    """A non-negative decimal of at most 15 digits. Raises: PeerProtocolError."""
    if not value.isdigit() or len(value) > _DIGITS_MAX:  # bytes.isdigit takes 0-9 alone; int() would take +5 and 5_0
        raise PeerProtocolError(f"{what} is not a number")
    return int(value)


class HeaderLines:
    """An HTTP head whose values are looked up when asked for. Its first line, request or status, is never a field.

    State: `_lowered`, made at the first look-up.
    """

    __slots__ = ("_lowered", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lowered: bytes | None = None

    def value(self, name: bytes) -> bytes | None:
        """The first value of header `name` (lower case), unfolded and stripped; None when absent."""
        lowered = self._lowered
        if lowered is None:
            lowered = self._lowered = self.raw.lower()
        found = lowered.find(b"\n" + name + b":")
        return None if found < 0 else self._value_at(found + len(name) + 2)

    def joined(self, name: bytes) -> bytes | None:
        """All values of a list header as one comma list (RFC 9110 §5.3); None when absent."""
        lowered = self._lowered
        if lowered is None:
            lowered = self._lowered = self.raw.lower()
        key = b"\n" + name + b":"
        found = lowered.find(key)
        values = []
        while found >= 0:
            start = found + len(key)
            values.append(self._value_at(start))
            found = lowered.find(key, start)
        return b",".join(values) if values else None

    def _value_at(self, start: int) -> bytes:
        raw = self.raw
        end = raw.find(b"\r\n", start)
        if raw[end + 2 : end + 3] not in _FOLDING:
            return raw[start:end].strip(b" \t") if end >= 0 else raw[start:].strip(b" \t\r")
        while end >= 0 and raw[end + 2 : end + 3] in _FOLDING:
            end = raw.find(b"\r\n", end + 2)
        return unfold(raw[start:end] if end >= 0 else raw[start:])
