"""The engine itself: what lists say of the URL of one request. Runs in fronts, between two requests' bytes.

Suffixes are looked up parent by parent, URLs prefix by prefix; each is one search in the table. What the lists say of
a host is remembered, as most requests go to few hosts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from engines.urls.names import CONTROLS, canonical_host, is_address, path_and_query, url_base, url_keys
from engines.urls.table import EMPTY_INDEX, Table
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
    """A host in its one form, and which lists it is on; `has_urls` when more must be asked."""

    name: str
    lists: tuple[int, ...]
    has_urls: bool


class UrlLists:
    """Says what lists hold a URL. State: hosts that were asked for lately."""

    name = NAME

    def __init__(self, tables: Tables) -> None:
        self._table = Table(tables.get("records", b""), tables.get("index", EMPTY_INDEX))
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
        numbers = found.lists
        if found.has_urls:
            base = url_base(found.name, port).encode("utf-8", "surrogateescape")
            for key in url_keys(base, *path_and_query(target)):
                numbers += self._table.find(key)
        return self._named(numbers) if numbers else ()

    def _named(self, numbers: tuple[int, ...]) -> tuple[Finding, ...]:
        exempt = self._exempt.intersection(numbers)
        return tuple(self._findings[number - 1] for number in sorted(exempt or {*numbers}))

    def _find_host(self, claimed: str) -> _Host:
        table = self._table
        host = canonical_host(claimed)
        name = host.encode("utf-8", "surrogateescape").translate(None, CONTROLS)
        numbers = table.find(b"." + name)
        if self._has_names:
            numbers += table.find(name)
        dot = -1 if is_address(host) else name.find(b".")
        for _ in range(_PARENTS_MAX):
            if dot < 0:
                break
            numbers += table.find(name[dot:])
            dot = name.find(b".", dot + 1)
        has_urls = self._has_urls and bool(table.find(name.removeprefix(b"www.") + b"//"))
        return _Host(host, numbers, has_urls)
