"""Who a gateway says its client is: the user and the groups, from the headers that gateways use for them.

Decoded as configured, never by guessing; what does not decode stays as it came. Whether a gateway may be believed is
settled by who may connect.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from icapd.net.profiles import PROFILES, UserHeaders

GROUPS_MAX = 1024
_USER_BYTES = 256
_GROUPS_BYTES = 64 * 1024
_KNOWN_BYTES_MAX = 16 * 1024
"""Longer lists are read anew each time: a cache must not keep what a peer can make as long as a head."""
_SEPARATOR = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Between accounts with a scheme: distinguished names have commas of their own."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How a client names users: in which headers, the first that is there counts, and how they are encoded."""

    headers: UserHeaders = PROFILES["generic"].user_headers
    is_base64: bool = False


PLAIN = Naming()


def read_user(values: Mapping[bytes, bytes], naming: Naming) -> str:
    """The user; empty when the gateway names none."""
    for header, is_base64 in naming.headers:
        value = values.get(header)
        if value:
            name = value[:_USER_BYTES].decode("utf-8", "backslashreplace")
            return _decoded(name) if (naming.is_base64 if is_base64 is None else is_base64) else name
    return ""


def read_groups(values: Mapping[bytes, bytes], is_base64: bool) -> tuple[str, ...]:
    """The user's groups, GROUPS_MAX at most."""
    value = values.get(b"x-client-groups") or values.get(b"x-authenticated-groups")
    if not value:
        return ()
    read = _known_groups if len(value) <= _KNOWN_BYTES_MAX else _groups
    return read(value[:_GROUPS_BYTES], is_base64)


def _groups(value: bytes, is_base64: bool) -> tuple[str, ...]:
    text = value.decode("utf-8", "backslashreplace")
    if is_base64:
        whole = _decoded(text)
        text = ", ".join(map(_decoded, map(str.strip, text.split(",")))) if whole == text else whole
    parts = _SEPARATOR.split(text) if "://" in text else text.split(",")
    return tuple(dict.fromkeys(filter(None, map(str.strip, parts))))[:GROUPS_MAX]


_known_groups = lru_cache(maxsize=256)(_groups)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except ValueError:
        return text
