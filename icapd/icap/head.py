"""ICAP heads: the request line, header lines, and the few headers that steer the connection.

Strict in: CRLF only, no NUL, no bare CR, no space before a colon (RFC 3507 §4.3, RFC 9112 §5). Folding is accepted on
input, as some clients still fold. Heads stay bytes; nothing is parsed that nobody asked for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from icapd.errors import PeerProtocolError

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_FIELDS = re.compile(rb"(?:%b++:%b*+\r\n(?:[\t ]%b*+\r\n)*+)*+" % (_TOKEN, _TEXT, _TEXT))
_REQUEST_LINE = re.compile(rb"(%b{1,64}+) ([\x21-\x7e]++) ICAP/([0-9]{1,3})\.([0-9]{1,3})\r\n" % _TOKEN)
_TARGET = re.compile(rb"(?!\?)(?:(?i:icaps?)://[^/?#]*)?(/[^?#]*|\*)?(?:\?[^#]*)?")
_FOLD = re.compile(rb"\r\n[\t ]+")
_NUMBER = re.compile(rb"[0-9]{1,15}")
_TARGET_BYTES_MAX = 4096
_CACHED_BYTES_MAX = 256
"""Longer values are read anew each time: a cache must not keep what a peer can make as long as a head."""
_FRAMING = (b"\nencapsulated:", b"\npreview:", b"\ntransfer-encoding:")
_LISTS = (b"\nallow:", b"\nconnection:")


def check_fields(block: bytes, count_limit: int) -> None:
    """Raises: PeerProtocolError for a header block that is not well formed or has too many lines."""
    if _FIELDS.fullmatch(block) is None:
        raise PeerProtocolError("malformed header line")
    if block.count(b"\r\n") > count_limit:
        raise PeerProtocolError("too many header lines")


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
    method, target, major, _minor = match.groups()
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


class Steering(NamedTuple):
    """The values of the headers that frame a message, in lower case; None when absent."""

    encapsulated: bytes | None
    preview: bytes | None
    transfer_encoding: bytes | None
    allow: bytes | None
    connection: bytes | None


def steering_fields(head: bytes) -> Steering:
    """Reads the steering headers of a checked head; the request line may stand before them.

    Raises: PeerProtocolError when one that may stand once stands twice.
    """
    lines = head.lower()
    framing = [_only_value(lines, key) for key in _FRAMING]
    return Steering(
        framing[0], framing[1], framing[2], _joined_value(lines, _LISTS[0]), _joined_value(lines, _LISTS[1])
    )


def _value_at(lines: bytes, start: int) -> bytes:
    end = lines.find(b"\r\n", start)
    while lines[end + 2 : end + 3] in (b" ", b"\t"):
        end = lines.find(b"\r\n", end + 2)
    return unfold(lines[start:end])


def _only_value(lines: bytes, key: bytes) -> bytes | None:
    found = lines.find(key)
    if found < 0:
        return None
    start = found + len(key)
    if lines.find(key, start) >= 0:
        raise PeerProtocolError(f"{key[1:-1].decode()} stands twice")
    return _value_at(lines, start)


def _joined_value(lines: bytes, key: bytes) -> bytes | None:
    """Several header lines of one name are one comma list (RFC 9110 §5.3)."""
    value = None
    found = lines.find(key)
    while found >= 0:
        start = found + len(key)
        one = _value_at(lines, start)
        value = one if value is None else value + b"," + one
        found = lines.find(key, start)
    return value


def parse_number(value: bytes, what: str) -> int:
    """A non-negative decimal of at most 15 digits. Raises: PeerProtocolError."""
    if _NUMBER.fullmatch(value) is None:
        raise PeerProtocolError(f"{what} is not a number")
    return int(value)


def list_tokens(value: bytes) -> frozenset[bytes]:
    """The members of a comma list in lower case: `204, 206, trailers`."""
    return _cached_tokens(value) if len(value) <= _CACHED_BYTES_MAX else _tokens(value)


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",") if token.strip(b" \t"))


_cached_tokens = lru_cache(maxsize=256)(_tokens)


@lru_cache(maxsize=256)
def _field_pattern(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|\n)%b:([^\r\n]*(?:\r\n[\t ][^\r\n]*)*)" % re.escape(name), re.IGNORECASE)


def field_value(block: bytes, name: bytes) -> bytes | None:
    """The first value of header `name` (lower case) in a block of header lines, unfolded; None when absent."""
    match = _field_pattern(name).search(block)
    return None if match is None else unfold(match.group(1))
