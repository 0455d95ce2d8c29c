"""Brings hosts and paths into one form, so that a list and a request that mean the same place say it alike.

As lenient as browsers: what they would go to is what is looked up. Nothing here raises; what is no host stays what it
is, and is on no list. Spec: WHATWG URL, host and IPv4 parsers; UTS 46 without transitional processing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import posixpath
import re
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

import idna

SEGMENTS_MAX = 32
"""Folders of a path, and parts of a query, that are looked up; deeper than lists are."""

_PLAIN = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z_-][a-z0-9_-]*")
PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789._-"
"""A name of these alone that ends in a letter, without `0x`, is as `canonical_host` would have it."""
_HOST_MAX = 253
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_NUMBER_DIGITS_MAX = 16
DEFAULT_PORTS = frozenset({"", "80", "443"})
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))
CONTROLS = bytes(range(0x21)) + b"\x7f"
"""What no key has."""
_LOWER = bytes(range(256)).lower()
_PERCENT = ord("%")
_TARGET = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?([^?#]*)(?:\?([^#]*))?")


def canonical_host(host: str) -> str:
    """A host as lists hold it: lower case, ASCII (`xn--` for other letters), no dot at its end, addresses in full."""
    if len(host) > _HOST_MAX * 6:  # more than one could have in percent-escapes
        return host
    if "%" in host and ":" not in host:
        host = unquote(host)
    if not host.isascii():
        host = _ascii(host)
    host = host.lower().rstrip(".")
    if _PLAIN.fullmatch(host):
        return host
    return _address(host) or host


def _ascii(host: str) -> str:
    """Letters of all scripts as punycode, label by label; also labels that registries would not take, as emoji."""
    if len(host) > _HOST_MAX:
        return host
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
    except (idna.IDNAError, UnicodeError):
        mapped = unicodedata.normalize("NFKC", host).lower()
    labels = mapped.translate(_DOTS).split(".")
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in labels)


def _address(host: str) -> str:
    """An IP address in its shortest form; empty for what is none."""
    if ":" in host:
        with contextlib.suppress(ValueError):
            address = ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
            return str(address.ipv4_mapped or address)
        return ""
    parts = host.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return ""
    numbers = [_number(part) for part in parts]
    if max(numbers[:-1], default=0) > 255 or numbers[-1] >= 256 ** (5 - len(numbers)):
        return ""
    value = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        value += number << 8 * (3 - place)
    return str(ipaddress.IPv4Address(value))


def is_address(host: str) -> bool:
    """Whether a canonical host is an IP address, which has no parents."""
    return ":" in host or (host[-1:].isdigit() and host.replace(".", "").isdigit())


def _number(text: str) -> int:
    """`0x7f`, `0177` and `127` are the same; what is none, or too long, is too large for an address."""
    if len(text) > _NUMBER_DIGITS_MAX:
        return 1 << 64
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    if not text.startswith("0"):
        return int(text)
    with contextlib.suppress(ValueError):
        return int(text, 8)
    return 1 << 64


def url_base(name: bytes, port: str) -> bytes:
    """What a URL of a host begins with: its name without `www.`, and a port unless it is a usual one.

    A bar stands before a port: IPv6 addresses have colons.
    """
    return name if port in DEFAULT_PORTS else name + b"|" + port.encode("utf-8", "surrogateescape")


def path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target as an origin reads them: decoded, without `.`, `..`, `//`, in lower case.

    The path has no slash at its end, and is empty for the root.
    """
    match = _TARGET.match(target)
    path, query = (b"", None) if match is None else match.groups()
    path = _decoded(path)
    if path.find(b"//") >= 0 or path.find(b"/.") >= 0:
        path = posixpath.normpath(b"/" + path.lstrip(b"/"))
    return path.rstrip(b"/"), _decoded(query) if query else b""


def _decoded(part: bytes) -> bytes:
    return (unquote_to_bytes(part) if _PERCENT in part else part).translate(_LOWER, CONTROLS)


def url_keys(base: bytes, path: bytes, query: bytes) -> list[bytes]:
    """Every prefix of a URL that a list may hold: its host, each folder, the whole path, and that with its query."""
    keys = [base + b"/"]
    if path:
        keys += _prefixes(base + path, b"/", len(base) + 1)
    if query:
        start = base + (path or b"/") + b"?"
        keys += _prefixes(start + query, b"&", len(start))
    return keys


def _prefixes(whole: bytes, mark: bytes, start: int) -> list[bytes]:
    """What is before each mark from `start` on, and the whole."""
    found: list[bytes] = []
    at = whole.find(mark, start)
    while at >= 0 and len(found) < SEGMENTS_MAX:
        found.append(whole[:at])
        at = whole.find(mark, at + 1)
    found.append(whole)
    return found
