"""ICAP heads: the request line, header lines, and the few headers that steer the connection.

Strict in: CRLF only, no NUL, no bare CR, no space before a colon (RFC 3507 §4.3, RFC 9112 §5). Folding is accepted on
input, as some clients still fold. Heads stay bytes; nothing is parsed that nobody asked for.
"""

from __future__ import annotations

import re
from functools import lru_cache

from icapd.errors import PeerProtocolError

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_NAME = re.compile(rb"%b++" % _TOKEN)
_TEXT_BYTES = bytes({*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)})
_REQUEST_LINE = re.compile(rb"(%b{1,64}+) ([\x21-\x7e]++) ICAP/([0-9]{1,3})\.[0-9]{1,3}\r\n" % _TOKEN)
_TARGET = re.compile(rb"(?!\?)(?:(?i:icaps?)://[^/?#]*)?(/[^?#]*|\*)?(?:\?[^#]*)?")
_FOLD = re.compile(rb"\r\n[\t ]+")
_DIGITS_MAX = 15
_FOLDING = (b" ", b"\t")
_TARGET_BYTES_MAX = 4096
_CACHED_BYTES_MAX = 256
"""Longer values are read anew each time: a cache must not keep what a peer can make as long as a head."""
_SINGLE = frozenset({b"encapsulated", b"preview", b"transfer-encoding"})
_USUAL_NAMES = {
    name.encode(): name.lower().encode()
    for name in (
        *("Host", "Date", "Encapsulated", "Preview", "Allow", "Connection", "User-Agent", "Transfer-Encoding"),
        *("X-Client-IP", "X-Server-IP", "X-Client-Username", "X-Authenticated-User", "X-Authenticated-Groups"),
    )
}
"""Names as clients spell them, so that they need no check and no folding of case."""


def parse_fields(block: bytes, count_limit: int) -> dict[bytes, bytes]:
    """Header lines, each with its CRLF, as values by lower-case name; unfolded and stripped.

    Several lines of one name are one comma list (RFC 9110 §5.3).

    Raises: PeerProtocolError for lines that are not well formed, too many of them, or a framing header twice.
    """
    count = block.count(b"\r\n")
    if count > count_limit:
        raise PeerProtocolError("too many header lines")
    if block.count(b"\r") != count or block.count(b"\n") != count or block.translate(None, _TEXT_BYTES):
        raise PeerProtocolError("a control character in a header line")
    if b"\r\n " in block or b"\r\n\t" in block:
        block = _FOLD.sub(b" ", block)
    lines = block.split(b"\r\n")
    if lines.pop():
        raise PeerProtocolError("a header line without its end")
    values: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        key = _USUAL_NAMES.get(name)
        if key is None:
            if _NAME.fullmatch(name) is None:
                raise PeerProtocolError("malformed header name")
            key = name.lower()
        if not colon:
            raise PeerProtocolError("a header line without a colon")
        if key not in values:
            values[key] = value.strip()
        elif key in _SINGLE:
            raise PeerProtocolError(f"{key.decode()} stands twice")
        else:
            values[key] = b"%b,%b" % (values[key], value.strip())
    return values


def unfold(value: bytes) -> bytes:
    """A header value without obsolete folding and surrounding white space."""
    if b"\r" in value:
        value = _FOLD.sub(b" ", value)
    return value.strip(b" \t")


def parse_request_line(head: bytes) -> tuple[bytes, bytes, int]:
    """The method, the target and the length of the request line with its CRLF.

    Raises: PeerProtocolError 400 when it is not a request line, 505 for another ICAP version than 1.x.
    """
    match = _REQUEST_LINE.match(head)
    if match is None:
        raise PeerProtocolError("malformed request line")
    method, target, major = match.groups()
    if major != b"1":
        raise PeerProtocolError("ICAP version not supported", status_hint=505)
    return method, target, match.end()


@lru_cache(maxsize=512)
def service_path(target: bytes) -> str:
    """The path of a service URI: any host, scheme icap or icaps or none, query arguments ignored.

    Raises: PeerProtocolError for a target that is no such URI, or longer than any service needs.
    """
    if len(target) > _TARGET_BYTES_MAX:
        raise PeerProtocolError("service URI too long")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise PeerProtocolError("malformed service URI")
    return (match.group(1) or b"/").decode("ascii")


def parse_number(value: bytes, what: str) -> int:
    """A non-negative decimal of at most 15 digits. Raises: PeerProtocolError."""
    if not value.isdigit() or len(value) > _DIGITS_MAX:  # bytes.isdigit takes 0-9 alone; int() would take +5 and 5_0
        raise PeerProtocolError(f"{what} is not a number")
    return int(value)


def list_tokens(value: bytes) -> frozenset[bytes]:
    """The members of a comma list in lower case: `204, 206, trailers`."""
    return _cached_tokens(value) if len(value) <= _CACHED_BYTES_MAX else _tokens(value)


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",") if token.strip(b" \t"))


_cached_tokens = lru_cache(maxsize=256)(_tokens)


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
