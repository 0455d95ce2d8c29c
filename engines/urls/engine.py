"""The engine itself: what lists say of the URL of one request. Runs in fronts, between two requests' bytes.

Suffixes are looked up parent by parent, URLs prefix by prefix; each is one search in the table. What the lists say of
a host is remembered, as most requests go to few hosts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from engines.urls.names import CONTROLS, IS_CANONICAL, canonical_host, is_address, path_and_query, url_base, url_keys
from engines.urls.table import EMPTY_FILTER, EMPTY_INDEX, Table
from icapd.scan.engine_api import Tables
from icapd.scan.model import Finding, FindingKind, Severity

NAME: Final = "urls"
HAS_URLS: Final = 0
"""The number of no list: marks hosts of which some URLs are listed."""
_HOSTS_KEPT = 4096
_PARENTS_MAX = 126
"""No name has more."""

Kind = Literal["forbidden", "suspicious", "info", "exempt"]


class ListedAs(msgspec.Struct, frozen=True):
    """What being on one list, or in one category of it, amounts to."""

    name: str
    kind: Kind

    @property
    def finding(self) -> Finding:
        match self.kind:
            case "forbidden":
                return Finding(FindingKind.FORBIDDEN, self.name, NAME, Severity.HIGH, certain=True)
            case "suspicious":
                return Finding(FindingKind.SUSPICIOUS, self.name, NAME, Severity.MEDIUM)
            case "info" | "exempt":
                return Finding(FindingKind.INFO, self.name, NAME, Severity.INFO)


encode_lists: Final = msgspec.json.Encoder().encode
_decode_lists: Final = msgspec.json.Decoder(list[ListedAs]).decode


class _Host(NamedTuple):
    """What is known of a host: `findings` by its name alone; a name in its one form when URLs of it are listed."""

    findings: tuple[Finding, ...]
    lists: tuple[int, ...] = ()
    name: str | None = None


_ON_NONE: Final = _Host(())


class UrlLists:
    """Says what lists hold a URL. State: hosts that were asked for lately."""

    name = NAME

    def __init__(self, tables: Tables) -> None:
        self._table = Table(
            tables.get("records", b""), tables.get("index", EMPTY_INDEX), tables.get("filter", EMPTY_FILTER)
        )
        listed = _decode_lists(tables["lists"][:]) if tables else []
        formats = tables["formats"][:].split() if tables else []
        self._has_names = b"hosts" in formats
        self._has_urls = b"urls" in formats
        self._findings = [entry.finding for entry in listed]
        self._exempt = frozenset(number for number, entry in enumerate(listed, 1) if entry.kind == "exempt")
        self._look_up_host = lru_cache(_HOSTS_KEPT)(self._find_host)

    def look_up(self, host: str, port: str, target: bytes) -> tuple[Finding, ...]:
        """What lists say of a host, as claimed, and of the URL that `target` is of it."""
        found = self._look_up_host(host)
        if found.name is None:
            return found.findings
        base = url_base(found.name, port).encode("utf-8", "surrogateescape")
        return self._named(found.lists + self._table.find_all(url_keys(base, *path_and_query(target))))

    def _named(self, numbers: tuple[int, ...]) -> tuple[Finding, ...]:
        if len(numbers) < 2:
            return tuple(self._findings[number - 1] for number in numbers)
        exempt = self._exempt.intersection(numbers)
        return tuple(self._findings[number - 1] for number in sorted(exempt or {*numbers}))

    def _find_host(self, claimed: str) -> _Host:
        table = self._table
        if IS_CANONICAL(claimed):
            host, name, has_parents = claimed, claimed.encode(), True
        else:
            host = canonical_host(claimed)
            name = host.encode("utf-8", "surrogateescape").translate(None, CONTROLS)
            has_parents = not is_address(host)
        numbers = table.find_all(_suffixes(name, has_parents))
        if self._has_names:
            numbers += table.find(name)
        if self._has_urls and table.find(name.removeprefix(b"www.") + b"//"):
            return _Host((), numbers, host)
        return _Host(self._named(numbers)) if numbers else _ON_NONE


def _suffixes(name: bytes, has_parents: bool) -> list[bytes]:
    """A name and its parents, each with a dot before it, as lists of domains have them."""
    found = [b"." + name]
    dot = name.find(b".") if has_parents else -1
    while dot >= 0 and len(found) <= _PARENTS_MAX:
        found.append(name[dot:])
        dot = name.find(b".", dot + 1)
    return found
