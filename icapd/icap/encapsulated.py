"""The Encapsulated header: which sections a message has, where they begin (RFC 3507 §4.4.1, errata e1 and e4)."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from icapd.errors import PeerProtocolError

_LIST = re.compile(
    rb"[a-z-]+[ \t]*=[ \t]*[0-9]{1,10}(?:[ \t]*,[ \t]*[a-z-]+[ \t]*=[ \t]*[0-9]{1,10})*", re.IGNORECASE
)
_ENTRY = re.compile(rb"([a-z-]+)[ \t]*=[ \t]*([0-9]+)", re.IGNORECASE)
_VALUE_BYTES_MAX = 256  # three sections take 66; values are cached, so that white space must not make them long
_HEADERS = frozenset({"req-hdr", "res-hdr"})
_BODIES = frozenset({"req-body", "res-body", "opt-body", "null-body"})
_ORDERS: dict[str, frozenset[tuple[str, ...]]] = {
    "REQMOD": frozenset({("req-hdr", "req-body"), ("req-hdr", "null-body"), ("req-body",), ("null-body",)}),
    "RESPMOD": frozenset(
        {
            (*headers, body)
            for headers in ((), ("req-hdr",), ("res-hdr",), ("req-hdr", "res-hdr"))
            for body in ("res-body", "null-body")
        }
    ),
    "OPTIONS": frozenset({("opt-body",), ("null-body",)}),
}


class Encapsulated(msgspec.Struct, frozen=True, gc=False):
    """The sizes in bytes of the header sections in wire order, and the name of the body section.

    `req_bytes` and `res_bytes` are None when the section is absent.
    """

    req_bytes: int | None = None
    res_bytes: int | None = None
    body: str = "null-body"

    @property
    def has_body(self) -> bool:
        return self.body != "null-body"

    @property
    def header_bytes(self) -> int:
        return (self.req_bytes or 0) + (self.res_bytes or 0)


NOTHING = Encapsulated()
"""No Encapsulated header: no body (RFC 3507 §4.4.1, errata e1)."""


@lru_cache(maxsize=4096)
def parse_encapsulated(value: bytes, method: str) -> Encapsulated:
    """Reads the header's value for a request with `method`.

    Raises: PeerProtocolError 400 when it is malformed, 418 when its sections do not belong to the method.
    """
    if len(value) > _VALUE_BYTES_MAX or _LIST.fullmatch(value) is None:
        raise PeerProtocolError("malformed Encapsulated")
    entries = [(name.decode("ascii").lower(), int(offset)) for name, offset in _ENTRY.findall(value)]
    names = tuple(name for name, _ in entries)
    offsets = [offset for _, offset in entries]
    if not set(names) <= _HEADERS | _BODIES or len(set(names)) != len(names):
        raise PeerProtocolError("Encapsulated names an unknown section, or one twice")
    if names[-1] not in _BODIES or not set(names[:-1]) <= _HEADERS:
        raise PeerProtocolError("Encapsulated does not end with its body section")
    if offsets[0] != 0 or offsets != sorted(offsets):
        raise PeerProtocolError("Encapsulated offsets do not increase from 0")
    if names[:-1] == ("res-hdr", "req-hdr"):
        raise PeerProtocolError("Encapsulated has res-hdr before req-hdr")
    if names not in _ORDERS[method]:
        raise PeerProtocolError(f"{method} does not take {', '.join(names)}", status_hint=418)
    sizes = {name: after - before for name, before, after in zip(names, offsets, offsets[1:], strict=False)}
    return Encapsulated(sizes.get("req-hdr"), sizes.get("res-hdr"), names[-1])
