"""The conditions that heads and content answer, made from the operator's words; `rules` joins them with verdict and
findings.

Knows no rule order and no verdict; what cannot be meant has been refused before.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from icapd.config.schema import When
from icapd.policy.facts import Facts
from icapd.scan.model import ScanReport

_ADDRESS = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")


class Content(Protocol):
    """A condition on the body: what the heads claim of it, what the report knows of it."""

    def claimed(self, facts: Facts) -> bool: ...

    def real(self, report: ScanReport) -> bool: ...


class Names:
    """A set of names, any case; * and ? are wildcards."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, names: Iterable[str]) -> None:
        wild = [name for name in names if "*" in name or "?" in name]
        self._exact = frozenset(name.lower() for name in names if name not in wild)
        # fnmatch's own translation is linear where a naive ".*" would backtrack: names come from peers.
        self._patterns = tuple(re.compile(fnmatch.translate(name.lower().replace("[", "[[]"))) for name in wild)

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return name in self._exact or any(pattern.match(name) for pattern in self._patterns)


class MediaTypes:
    """Content condition: the media type, parameters left away."""

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = Names(names)

    def claimed(self, facts: Facts) -> bool:
        declared = facts.media_type
        if declared is not None and declared.partition(";")[0].strip() in self._names:
            return True
        return any(media_type in self._names for media_type in facts.media_types)

    def real(self, report: ScanReport) -> bool:
        # Nobody looked, or nobody recognised it: then no type is the real one, application/octet-stream neither.
        return report.identity.family != "unknown" and report.identity.media_type in self._names


class SizeRange:
    """Content condition: larger than one bound, smaller than the other."""

    __slots__ = ("_over_bytes", "_under_bytes")

    def __init__(self, over_bytes: int | None, under_bytes: int | None) -> None:
        self._over_bytes = -1 if over_bytes is None else over_bytes
        self._under_bytes = float("inf") if under_bytes is None else under_bytes

    def claimed(self, facts: Facts) -> bool:
        return facts.size_bytes is not None and self._over_bytes < facts.size_bytes < self._under_bytes

    def real(self, report: ScanReport) -> bool:
        return self._over_bytes < report.size_bytes < self._under_bytes


def entries(condition: str | list[str] | None) -> list[str]:
    """A condition as a list, as the configuration takes one text or several."""
    if condition is None:
        return []
    return [condition] if isinstance(condition, str) else condition


def fixed_conditions(when: When, is_block: bool) -> Iterable[Callable[[Facts], bool]]:
    """The conditions that the heads alone answer."""
    if names := entries(when.method):
        methods = frozenset(name.upper() for name in names)
        yield lambda facts: facts.method in methods
    if names := entries(when.service):
        services = frozenset(names)
        yield lambda facts: facts.service in services
    if names := entries(when.http_method):
        http_methods = frozenset(name.upper() for name in names)
        yield lambda facts: facts.http_method is not None and facts.http_method.upper() in http_methods
    if names := entries(when.extension):
        extensions = Names(names)
        yield lambda facts: facts.extension is not None and facts.extension in extensions
    if names := entries(when.user):
        users = Names(names)
        yield lambda facts: facts.user is not None and facts.user in users
    if names := entries(when.host):
        yield _host_condition(names)
    if names := entries(when.client):
        yield _client_condition(names, holds_unread=is_block)


def content_conditions(when: When) -> Iterable[Content]:
    """The conditions on the body."""
    if names := entries(when.media_type):
        yield MediaTypes(names)
    if when.size_over_bytes is not None or when.size_under_bytes is not None:
        yield SizeRange(when.size_over_bytes, when.size_under_bytes)


def _host_condition(names: Sequence[str]) -> Callable[[Facts], bool]:
    suffixes = tuple(name.lower().rstrip(".") for name in names if name.startswith("."))
    hosts = Names([name.rstrip(".") for name in names if not name.startswith(".")])

    def holds(facts: Facts) -> bool:
        if facts.host is None:
            return False
        # "example.org." is the same host to a resolver, and would otherwise be a way around a block rule.
        host = facts.host.lower().rstrip(".")
        return host in hosts or ("." + host).endswith(suffixes)

    return holds


def _client_condition(names: Sequence[str], holds_unread: bool) -> Callable[[Facts], bool]:
    """The client's network; `holds_unread` is the answer for a client that is named by no address."""
    networks = tuple(ipaddress.ip_network(name, strict=False) for name in names)

    def holds(facts: Facts) -> bool:
        if not facts.client:
            return False
        try:
            address = _address(facts.client)
        except ValueError:
            return holds_unread
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in networks)

    return holds


def _address(client: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The first address of a list, as a gateway behind others passes them on, without its port.

    Raises: ValueError when it is none.
    """
    first = client.partition(",")[0].strip()
    match = _ADDRESS.fullmatch(first)
    return ipaddress.ip_address(first if match is None else match[1] or match[2])
