"""The conditions that heads and content answer, made from the operator's words; `rules` joins them with verdict and
findings.

Knows no rule order and no verdict; what cannot be meant has been refused before.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from icapd.config.schema import When
from icapd.policy.facts import Facts
from icapd.policy.names import Names
from icapd.policy.times import Span, week_spans
from icapd.scan.model import ScanReport

_ADDRESS = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")
_ACCOUNT_SCHEMES = frozenset({"winnt", "ntlm", "kerberos", "local", "ldap", "ldaps", "radius"})
_OCTETS = {str(octet): octet for octet in range(256)}

Address = tuple[int, int]
"""The version of the protocol, 4 or 6, and the address as a number."""


class Fixed(NamedTuple):
    """A condition that the heads alone answer, by its key."""

    key: str
    holds: Callable[[Facts], bool]


class Content(Protocol):
    """A condition on the body: what the heads claim of it, what the report knows of it."""

    @property
    def key(self) -> str: ...

    def claimed(self, facts: Facts) -> bool: ...

    def real(self, report: ScanReport) -> bool: ...


class MediaTypes:
    """Content condition: the media type, parameters left away. `believes`: what is declared is a claim to it."""

    __slots__ = ("_believes", "_names", "key")

    def __init__(self, key: str, names: Sequence[str], *, believes: bool) -> None:
        self.key = key
        self._names = Names(names)
        self._believes = believes

    def claimed(self, facts: Facts) -> bool:
        return self._believes and any(name in self._names for name in declared_types(facts))

    def real(self, report: ScanReport) -> bool:
        # Nobody looked, or nobody recognised it: then no type is the real one, application/octet-stream neither.
        return report.identity.family != "unknown" and report.identity.media_type in self._names


class SizeRange:
    """Content condition: larger than one bound, smaller than the other."""

    __slots__ = ("_over_bytes", "_under_bytes")
    key = "size"

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


def fixed_conditions(when: When, refuses: bool) -> Iterable[Fixed]:
    """The conditions that the heads alone answer. `refuses`: of a rule that lets nothing pass, which doubts more."""
    if names := entries(when.method):
        methods = frozenset(name.upper() for name in names)
        yield Fixed("method", lambda facts: facts.method in methods)
    if names := entries(when.service):
        services = frozenset(names)
        yield Fixed("service", lambda facts: facts.service in services)
    if names := entries(when.http_method):
        http_methods = frozenset(name.upper() for name in names)
        yield Fixed(
            "http_method", lambda facts: facts.http_method is not None and facts.http_method.upper() in http_methods
        )
    if names := entries(when.extension):
        extensions = Names(names)
        yield Fixed("extension", lambda facts: facts.extension is not None and facts.extension in extensions)
    if names := entries(when.user):
        users = Names(names)
        yield Fixed(
            "user", lambda facts: facts.user is not None and any(name in users for name in account_names(facts.user))
        )
    if names := entries(when.group):
        groups = Names(names)
        yield Fixed("group", lambda facts: any(name in groups for name in all_account_names(facts.groups)))
    if names := entries(when.host):
        yield Fixed("host", _host_condition(names))
    if names := entries(when.url):
        yield Fixed("url", _url_condition(names, refuses))
    if names := entries(when.client):
        yield Fixed("client", _client_condition(names, holds_unread=refuses))
    if names := entries(when.declared_type):
        yield Fixed("declared_type", _declared_condition(names, refuses))
    if when.time is not None or when.weekday is not None:
        yield Fixed("time", _time_condition(week_spans(entries(when.time), entries(when.weekday))))


def content_conditions(when: When) -> Iterable[Content]:
    """The conditions on the body."""
    if names := entries(when.media_type):
        yield MediaTypes("media_type", names, believes=True)
    if names := entries(when.real_type):
        yield MediaTypes("real_type", names, believes=False)
    if when.size_over_bytes is not None or when.size_under_bytes is not None:
        yield SizeRange(when.size_over_bytes, when.size_under_bytes)


def declared_types(facts: Facts) -> tuple[str, ...]:
    """Every media type that the message declares, without parameters."""
    return all_types(facts.media_type, facts.media_types)


def all_types(first: str | None, types: tuple[str, ...]) -> tuple[str, ...]:
    """The one declared first, which may have parameters, and all of several."""
    if first is None:
        return types
    bare = first.partition(";")[0].strip()
    return types if bare in types else (bare, *types)


def all_account_names(accounts: tuple[str, ...]) -> tuple[str, ...]:
    """The names a rule may call these accounts by."""
    return tuple(name for account in accounts for name in account_names(account))


def account_names(text: str) -> tuple[str, ...]:
    r"""`WinNT://CORP/alice` is also CORP\alice and alice, `Local://alice` also alice; other texts are themselves."""
    scheme, mark, name = text.partition("://")
    if not mark or scheme.lower() not in _ACCOUNT_SCHEMES:
        return (text,)
    domain, _, account = name.rpartition("/")
    if not account or "/" in domain:
        return (text,)
    return (text, f"{domain}\\{account}", account) if domain else (text, account)


def host_name(host: str) -> str:
    """`example.org.` is the same host to a resolver, and would otherwise be a way around a block rule."""
    return host.lower().rstrip(".")


def url_forms(url: str) -> tuple[str, ...]:
    """A URL as it was sent and, where that differs, as an origin will read it: decoded, without `.` and `..`."""
    if "%" not in url and "/." not in url and 0 < url.rfind("//") == url.find(":") + 1:  # what nearly all are
        return (url,)
    place = 0 if url.startswith("/") else url.find("/", url.find("://") + 3)
    if place < 0:
        return (url,)
    path = url[place:]
    plain = posixpath.normpath("/" + unquote(path).lstrip("/"))
    read = url[:place] + plain + ("/" if path.endswith("/") and plain != "/" else "")
    return (url,) if read == url else (url, read)


def client_address(client: str) -> Address | None:
    """The first address of a list, as a gateway behind others passes them on, without its port; None if none.

    An IPv6 address that stands for one of IPv4 is that one.
    """
    octets = client.split(".")
    if len(octets) == 4:  # what nearly all are; `ipaddress` takes ten times as long
        try:
            first, second, third, fourth = map(_OCTETS.__getitem__, octets)
        except KeyError:
            pass
        else:
            return 4, (first << 24) + (second << 16) + (third << 8) + fourth
    try:
        return _read_address(client)
    except ValueError:
        return None


def network_bits(name: str) -> tuple[int, int, int]:
    """A network as version, how many bits of an address are the host's, and the others."""
    network = ipaddress.ip_network(name, strict=False)
    shift = network.max_prefixlen - network.prefixlen
    return network.version, shift, int(network.network_address) >> shift


def _read_address(client: str) -> Address:
    """Raises: ValueError when it is none."""
    first = client.partition(",")[0].strip()
    match = _ADDRESS.fullmatch(first)
    address = ipaddress.ip_address(first if match is None else match[1] or match[2])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return address.version, int(address)


def _host_condition(names: Sequence[str]) -> Callable[[Facts], bool]:
    suffixes = tuple(name.lower().rstrip(".") for name in names if name.startswith("."))
    hosts = Names([name.rstrip(".") for name in names if not name.startswith(".")])

    def holds(facts: Facts) -> bool:
        if facts.host is None:
            return False
        host = host_name(facts.host)
        return host in hosts or ("." + host).endswith(suffixes)

    return holds


def _url_condition(patterns: Sequence[str], refuses: bool) -> Callable[[Facts], bool]:
    """In any form for a rule that refuses; in every form for one that lets pass, as a path may be written to fit."""
    names = Names(patterns)
    combine = any if refuses else all

    def holds(facts: Facts) -> bool:
        url = facts.url
        return url is not None and combine(form in names for form in url_forms(url))

    return holds


def _declared_condition(patterns: Sequence[str], refuses: bool) -> Callable[[Facts], bool]:
    """Any of several declared types for a rule that refuses, each of them for one that lets pass."""
    names = Names(patterns)
    combine = any if refuses else all

    def holds(facts: Facts) -> bool:
        declared = declared_types(facts)
        return bool(declared) and combine(name in names for name in declared)

    return holds


def _client_condition(names: Sequence[str], holds_unread: bool) -> Callable[[Facts], bool]:
    """The client's network; `holds_unread` is the answer for a client that is named by no address."""
    networks = [network_bits(name) for name in names]

    def holds(facts: Facts) -> bool:
        if not facts.client:
            return False
        address = client_address(facts.client)
        if address is None:
            return holds_unread
        version, number = address
        return any(number >> shift == bits for its_version, shift, bits in networks if its_version == version)

    return holds


def _time_condition(spans: Sequence[Span]) -> Callable[[Facts], bool]:
    def holds(facts: Facts) -> bool:
        minute = facts.week_minute
        return minute is not None and any(start <= minute < end for start, end in spans)

    return holds
