"""One rule, compiled: its conditions in three-valued logic (YES, NO, not yet known).

Conditions fall into three groups by what can answer them:

- *fixed*: method, service, client, user, host, http_method, extension. Known with the heads, never changing.
- *judged*: verdict, finding. Known with the scan report only.
- *content*: media type and size. The heads claim them, the report knows them.

A claim about content may only make the answer stricter. A block rule therefore holds for what is claimed as well as
for what is real: a browser acts on the declared type whatever the bytes are. A rule that lets the body pass (allow,
monitor) holds for what is real only, so that a wrong Content-Type or Content-Length opens nothing, and never holds
before the scan. This also makes an early answer final: no report can turn a YES or a NO into its contrary.
"""

from __future__ import annotations

import difflib
import enum
import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from icapd.config.schema import Rule, When
from icapd.errors import ConfigurationError, Problem
from icapd.policy.facts import Action, Decision, Facts
from icapd.scan.model import (
    ERROR_KINDS,
    UNSCANNABLE_KINDS,
    Finding,
    FindingKind,
    ScanReport,
    Severity,
    Verdict,
)

TEXT_CONDITIONS = (
    "verdict",
    "finding",
    "method",
    "service",
    "client",
    "user",
    "host",
    "http_method",
    "media_type",
    "extension",
)
METHODS = ("REQMOD", "RESPMOD")
_JUDGEMENTS_FAILED = UNSCANNABLE_KINDS | ERROR_KINDS


class Match(enum.Enum):
    """Whether a rule holds."""

    YES = enum.auto()
    NO = enum.auto()
    NOT_YET_KNOWN = enum.auto()


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
        return declared is not None and declared.partition(";")[0].strip() in self._names

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


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to be asked. `verdicts` None: whatever the verdict."""

    decision: Decision
    verdicts: frozenset[Verdict] | None
    findings: Names | None
    fixed: tuple[Callable[[Facts], bool], ...]
    content: tuple[Content, ...]

    def early(self, facts: Facts) -> Match:
        """Whether the rule holds by what is known before a scan."""
        for condition in self.fixed:
            if not condition(facts):
                return Match.NO
        if self.verdicts is not None or self.findings is not None:
            return Match.NOT_YET_KNOWN
        if not self.content:
            return Match.YES
        if self.decision.action is Action.BLOCK and all(content.claimed(facts) for content in self.content):
            return Match.YES
        return Match.NOT_YET_KNOWN

    def holds(self, facts: Facts, report: ScanReport) -> bool:
        """Whether the rule holds for a report whose verdict is one of `verdicts`: the caller sorts by verdict."""
        for condition in self.fixed:
            if not condition(facts):
                return False
        if self.findings is not None and not any(_is_named(finding, self.findings) for finding in report.findings):
            return False
        believes = self.decision.action is Action.BLOCK
        return all(content.real(report) or (believes and content.claimed(facts)) for content in self.content)

    @property
    def is_certain(self) -> bool:
        """Holds for every report with one of its verdicts."""
        return not self.fixed and self.findings is None and not self.content

    def answers(self, verdict: Verdict, kind: FindingKind | None) -> bool:
        """Whether no report of this verdict, with a finding of this kind, gets past this rule."""
        return (
            (self.verdicts is None or verdict in self.verdicts)
            and (self.findings is None or (kind is not None and kind in self.findings))
            and not self.fixed
            and not self.content
        )


def compile_rule(rule: Rule, where: str) -> CompiledRule:
    """Makes a rule askable.

    Raises: ConfigurationError with every condition that cannot be meant so; `where` is the rule's key path.
    """
    when = rule.when
    problems = [*_empty_conditions(when, where), *_wrong_conditions(when, where)]
    if problems:
        raise ConfigurationError(problems)
    verdicts = frozenset(Verdict(name.upper()) for name in _entries(when.verdict))
    findings = _entries(when.finding)
    return CompiledRule(
        decision=Decision(Action(rule.action), rule.name, rule.reason, rule.page),
        verdicts=verdicts or None,
        findings=Names(findings) if findings else None,
        fixed=tuple(_fixed(when)),
        content=tuple(_content(when)),
    )


def _is_named(finding: Finding, names: Names) -> bool:
    """Whether a rule's `finding` means this one: by its name, or by its kind where it counts.

    A note of severity INFO that something inside was not looked into (`not-opened:pdf`) is no reason for the verdict.
    """
    if finding.kind in _JUDGEMENTS_FAILED and finding.severity is Severity.INFO:
        return finding.name in names
    return finding.kind in names or finding.name in names


def _entries(condition: str | list[str] | None) -> list[str]:
    if condition is None:
        return []
    return [condition] if isinstance(condition, str) else condition


def _fixed(when: When) -> Iterable[Callable[[Facts], bool]]:
    if names := _entries(when.method):
        methods = frozenset(name.upper() for name in names)
        yield lambda facts: facts.method in methods
    if names := _entries(when.service):
        services = frozenset(names)
        yield lambda facts: facts.service in services
    if names := _entries(when.http_method):
        http_methods = frozenset(name.upper() for name in names)
        yield lambda facts: facts.http_method is not None and facts.http_method.upper() in http_methods
    if names := _entries(when.extension):
        extensions = Names(names)
        yield lambda facts: facts.extension is not None and facts.extension in extensions
    if names := _entries(when.user):
        users = Names(names)
        yield lambda facts: facts.user is not None and facts.user in users
    if names := _entries(when.host):
        yield _host_condition(names)
    if names := _entries(when.client):
        yield _client_condition(names)


def _content(when: When) -> Iterable[Content]:
    if names := _entries(when.media_type):
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


def _client_condition(names: Sequence[str]) -> Callable[[Facts], bool]:
    networks = tuple(ipaddress.ip_network(name, strict=False) for name in names)

    def holds(facts: Facts) -> bool:
        try:
            address = ipaddress.ip_address(facts.client or "")
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in networks)

    return holds


def _empty_conditions(when: When, where: str) -> Iterable[Problem]:
    for key in TEXT_CONDITIONS:
        condition: str | list[str] | None = getattr(when, key)
        if condition is not None and (not condition or not all(_entries(condition))):
            yield Problem(f"{where}.when.{key}", "is empty and would never hold; leave the key out instead")


def _wrong_conditions(when: When, where: str) -> Iterable[Problem]:
    checks: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("verdict", _wrong_verdict),
        ("method", _wrong_method),
        ("client", _wrong_network),
        ("host", _wrong_host),
        (
            "media_type",
            lambda text: "" if text == "*" or "/" in text else "wants type/subtype, as image/* or text/html",
        ),
        ("extension", lambda text: "wants the extension without a dot, as exe" if "." in text else ""),
    )
    for key, check in checks:
        for text in filter(None, _entries(getattr(when, key))):
            if wrong := check(text):
                yield Problem(f"{where}.when.{key}", f'"{text}": {wrong}')
    over, under = when.size_over_bytes, when.size_under_bytes
    if over is not None and under is not None and over + 1 >= under:
        yield Problem(f"{where}.when", f"no size is over {over} and under {under} bytes: the rule would never hold")


def _wrong_verdict(text: str) -> str:
    names = [verdict.value for verdict in Verdict]
    if text.upper() in names:
        return ""
    close = difflib.get_close_matches(text.upper(), names, n=1)
    return f"is no verdict; did you mean {close[0]}?" if close else f"is no verdict; they are {' '.join(names)}"


def _wrong_method(text: str) -> str:
    return "" if text.upper() in METHODS else "wants REQMOD or RESPMOD; the HTTP request's method is http_method"


def _wrong_host(text: str) -> str:
    return "wants a host name, as example.org or .example.org" if "/" in text or not text.strip(".") else ""


def _wrong_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "wants an address or a network, as 192.0.2.7 or 192.0.2.0/24"
    return ""
