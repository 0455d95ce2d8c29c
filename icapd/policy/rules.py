"""One rule, compiled: its conditions in three-valued logic (YES, NO, not yet known).

Conditions fall into three groups by what can answer them:

- *fixed*: method, service, client, user, host, http_method, extension. Known with the heads, never changing.
- *judged*: verdict, outcome, finding. Known with the scan report only.
- *content*: media type and size. The heads claim them, the report knows them.

A claim about content may only make the answer stricter. A block rule therefore holds for what is claimed as well as
for what is real: a browser acts on the declared type whatever the bytes are. A rule that lets the body pass (allow,
monitor) holds for what is real only, so that a wrong Content-Type or Content-Length opens nothing, and never holds
before the scan. This also makes an early answer final: no report can turn a YES or a NO into its contrary.

The same care goes for what else is in a body, as its sender chooses that, too. A block rule holds for any finding it
names and for any verdict that a finding would make by itself, though another finding ranks higher: an encrypted file
beside a macro does not hide the macro. A rule that lets pass and names findings holds only when it names all that
count.
"""

from __future__ import annotations

import difflib
import enum
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from icapd.config.schema import Rule, When
from icapd.errors import ConfigurationError, Problem
from icapd.policy.conditions import Content, Names, content_conditions, entries, fixed_conditions
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.outcomes import MEANING, Result, finding_result, report_result, results_of
from icapd.scan.model import (
    ERROR_KINDS,
    UNSCANNABLE_KINDS,
    Finding,
    ScanReport,
    Severity,
    Verdict,
)

TEXT_CONDITIONS = (
    "verdict",
    "outcome",
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
_NOTHING_COUNTS = frozenset({Verdict.CLEAN, Verdict.NOT_SCANNED})
"""Verdicts that hide no other: nothing was found, or the operator allowed exactly these bytes."""


class Match(enum.Enum):
    """Whether a rule holds."""

    YES = enum.auto()
    NO = enum.auto()
    NOT_YET_KNOWN = enum.auto()


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to be asked. `verdicts` and `results` None: whatever they are. `where` is its place."""

    where: str
    decision: Decision
    verdicts: frozenset[Verdict] | None
    results: frozenset[Result] | None
    findings: Names | None
    fixed: tuple[Callable[[Facts], bool], ...]
    content: tuple[Content, ...]

    def early(self, facts: Facts) -> Match:
        """Whether the rule holds by what is known before a scan."""
        for condition in self.fixed:
            if not condition(facts):
                return Match.NO
        if self.verdicts is not None or self.results is not None or self.findings is not None:
            return Match.NOT_YET_KNOWN
        if not self.content:
            return Match.YES
        if self.decision.refuses and all(content.claimed(facts) for content in self.content):
            return Match.YES
        return Match.NOT_YET_KNOWN

    def holds(self, facts: Facts, report: ScanReport) -> bool:
        """Whether the rule holds for a report."""
        for condition in self.fixed:
            if not condition(facts):
                return False
        if not (self._means_verdict(report) and self._means_result(report) and self._means_findings(report)):
            return False
        believes = self.decision.refuses
        return all(content.real(report) or (believes and content.claimed(facts)) for content in self.content)

    def may_hold(self, verdict: Verdict) -> bool:
        """Whether any report of this verdict could meet the rule."""
        if self._looks_past(verdict):
            return True
        return (self.verdicts is None or verdict in self.verdicts) and (
            self.results is None or not self.results.isdisjoint(results_of(verdict))
        )

    def covers(self, verdict: Verdict) -> bool:
        """Whether no report of this verdict gets past this rule."""
        return (
            (self.verdicts is None or verdict in self.verdicts)
            and (self.results is None or self.results >= results_of(verdict))
            and self.findings is None
            and not self.fixed
            and not self.content
        )

    def answers(self, result: Result) -> bool:
        """Whether no report of this result gets past this rule, as long as all that counts in it is of this kind."""
        verdict, kind = MEANING[result]
        return (
            (self.verdicts is None or verdict in self.verdicts)
            and (self.results is None or result in self.results)
            and (self.findings is None or (kind is not None and kind in self.findings))
            and not self.fixed
            and not self.content
        )

    def _means_verdict(self, report: ScanReport) -> bool:
        if self.verdicts is None or report.verdict in self.verdicts:
            return True
        return self._looks_past(report.verdict) and any(
            finding.verdict in self.verdicts and finding.verdict is not Verdict.CLEAN for finding in report.findings
        )

    def _looks_past(self, verdict: Verdict) -> bool:
        """Whether what is outranked counts, too."""
        return self.decision.refuses and verdict not in _NOTHING_COUNTS

    def _means_result(self, report: ScanReport) -> bool:
        results = self.results
        if results is None:
            return True
        if self.decision.refuses:
            return report_result(report) in results or (
                self._looks_past(report.verdict)
                and any(
                    finding_result(finding) in results
                    for finding in report.findings
                    if finding.verdict is not Verdict.CLEAN
                )
            )
        return report_result(report) in results and all(
            finding_result(finding) in results for finding in report.findings if finding.verdict is report.verdict
        )

    def _means_findings(self, report: ScanReport) -> bool:
        names = self.findings
        if names is None:
            return True
        if not any(_is_named(finding, names) for finding in report.findings):
            return False
        return self.decision.refuses or all(
            _is_named(finding, names) for finding in report.findings if self._is_concerned(finding)
        )

    def _is_concerned(self, finding: Finding) -> bool:
        """Whether a finding counts, and for the verdict that the rule asks for, where it asks for one."""
        verdict = finding.verdict
        return verdict is not Verdict.CLEAN and (self.verdicts is None or verdict in self.verdicts)


def compile_rule(rule: Rule, where: str) -> CompiledRule:
    """Makes a rule askable.

    Raises: ConfigurationError with every condition that cannot be meant so; `where` is the rule's key path.
    """
    when = rule.when
    problems = [*_empty_conditions(when, where), *_wrong_conditions(when, where)]
    if problems:
        raise ConfigurationError(problems)
    verdicts = frozenset(Verdict(name.upper()) for name in entries(when.verdict))
    results = frozenset(Result(name.lower()) for name in entries(when.outcome))
    findings = entries(when.finding)
    return CompiledRule(
        where=where,
        decision=Decision(Action(rule.action), rule.name, rule.reason, rule.page),
        verdicts=verdicts or None,
        results=results or None,
        findings=Names(findings) if findings else None,
        fixed=tuple(fixed_conditions(when, Action(rule.action) is Action.BLOCK)),
        content=tuple(content_conditions(when)),
    )


def _is_named(finding: Finding, names: Names) -> bool:
    """Whether a rule's `finding` means this one: by its name, or by its kind where it counts.

    A note of severity INFO that something inside was not looked into (`not-opened:pdf`) is no reason for the verdict.
    """
    if finding.kind in _JUDGEMENTS_FAILED and finding.severity is Severity.INFO:
        return finding.name in names
    return finding.kind in names or finding.name in names


def _empty_conditions(when: When, where: str) -> Iterable[Problem]:
    for key in TEXT_CONDITIONS:
        condition: str | list[str] | None = getattr(when, key)
        if condition is not None and (not condition or not all(entries(condition))):
            yield Problem(f"{where}.when.{key}", "is empty and would never hold; leave the key out instead")


def _wrong_conditions(when: When, where: str) -> Iterable[Problem]:
    checks: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("verdict", lambda text: _wrong_word("verdict", text.upper(), list(Verdict))),
        ("outcome", lambda text: _wrong_word("outcome", text.lower(), list(Result))),
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
        for text in filter(None, entries(getattr(when, key))):
            if wrong := check(text):
                yield Problem(f"{where}.when.{key}", f'"{text}": {wrong}')
    over, under = when.size_over_bytes, when.size_under_bytes
    if over is not None and under is not None and over + 1 >= under:
        yield Problem(f"{where}.when", f"no size is over {over} and under {under} bytes: the rule would never hold")


def _wrong_word(what: str, text: str, names: Sequence[str]) -> str:
    if text in names:
        return ""
    close = difflib.get_close_matches(text, names, n=1)
    return f"is no {what}; did you mean {close[0]}?" if close else f"is no {what}; they are {' '.join(names)}"


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
