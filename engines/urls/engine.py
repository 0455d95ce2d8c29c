"""The engine itself: what lists say of the URL of one request. Runs in fronts, between two requests' bytes.

Suffixes are looked up parent by parent, URLs prefix by prefix; each is one search in the table. What the lists say of
a host is remembered, as most requests go to few hosts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import msgspec

from engines.urls.names import (
    CONTROLS,
    DEFAULT_PORTS,
    PLAIN,
    canonical_host,
    is_address,
    path_and_query,
    url_base,
    url_keys,
)
from engines.urls.table import EMPTY_FILTER, EMPTY_INDEX, Table, decode_values
from icapd.scan.engine_api import Tables
from icapd.scan.model import Finding, FindingKind, Severity

NAME: Final = "urls"
HAS_URLS: Final = 0
"""The number of no list: marks hosts of which some URLs are listed."""
HOSTS_KEPT = 4096
_SAYINGS_KEPT = 4096

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


class _Host(msgspec.Struct, frozen=True, gc=False):
    """What is known of a host: `findings` by its name alone; `base` begins its URLs when some of them are listed."""

    findings: tuple[Finding, ...]
    has_urls: bool
    base: bytes = b""
    own: bytes = b""
    above: bytes = b""


class UrlLists:
    """Says what lists hold a URL. State: hosts that were asked for lately."""

    name = NAME

    def __init__(self, tables: Tables) -> None:
        self._table = Table(
            tables.get("records", b""), tables.get("index", EMPTY_INDEX), tables.get("filter", EMPTY_FILTER)
        )
        listed = _decode_lists(tables["lists"][:]) if tables else []
        formats = tables["formats"][:].split() if tables else []
        self._has_urls = b"urls" in formats
        self._findings = [entry.finding for entry in listed]
        self._exempt = frozenset(number for number, entry in enumerate(listed, 1) if entry.kind == "exempt")
        self._hosts: dict[str, _Host] = {}
        self._say = lru_cache(_SAYINGS_KEPT)(self._find_findings)

    def look_up(self, host: str, port: str, target: bytes) -> tuple[Finding, ...]:
        """What lists say of a host, as claimed, and of the URL that `target` is of it."""
        found = self._hosts.get(host) or self._remembered(host)
        if not found.base:
            return found.findings
        base = found.base if port in DEFAULT_PORTS else url_base(found.base, port)
        values = self._table.find_all(url_keys(base, *path_and_query(target)))
        return self._say(found.own + values, found.above).findings if values else found.findings

    def _remembered(self, host: str) -> _Host:
        if len(self._hosts) >= HOSTS_KEPT:
            self._hosts.clear()  # those that are asked for often are back at once
        found = self._hosts[host] = self._find_host(host)
        return found

    def _find_host(self, claimed: str) -> _Host:
        name = claimed.encode("utf-8", "surrogateescape")
        # What all of this is true of, as of nearly all, is as `canonical_host` would have it, and no address.
        if not name.strip(PLAIN) and name[-1:] >= b"a" and "0x" not in claimed:
            has_parents = True
        else:
            host = canonical_host(claimed)
            # No name has a slash, keys of URLs have.
            name = host.encode("utf-8", "surrogateescape").translate(None, CONTROLS).replace(b"/", b"\\")
            has_parents = not is_address(host)
        table = self._table
        own, above = table.find(name), table.find_parents(name) if has_parents else b""
        said = self._say(own, above)
        if not self._has_urls:
            return said
        base = name.removeprefix(b"www.")
        of_base = said if base == name else self._say(table.find(base), b"")
        return _Host(said.findings, True, base, own, above) if of_base.has_urls else said

    def _find_findings(self, own: bytes, above: bytes) -> _Host:
        """What it means to have the first values, and to be below what has the others."""
        here = {number for number, _ in decode_values(own)}
        numbers = here | {number for number, is_for_all_below in decode_values(above) if is_for_all_below}
        told = sorted(self._exempt.intersection(numbers) or numbers - {HAS_URLS})
        return _Host(tuple(self._findings[number - 1] for number in told), HAS_URLS in here)
