"""One rule, compiled: its conditions in three-valued logic (YES, NO, not yet known).

Conditions fall into three groups by what can answer them:

- *fixed*: method, service, client, user, group, host, url, http_method, extension, declared_type, time. Known with
  the heads, never changing.
- *judged*: verdict, outcome, finding with its severity and engine. Known with the scan report only.
- *content*: media type and size. The heads claim them, the report knows them.

A claim about content may only make the answer stricter. A rule that refuses (block, redirect) therefore holds for
what is claimed as well as for what is real: a browser acts on the declared type whatever the bytes are. A rule that
lets the body pass (allow, monitor) holds for what is real only, so that a wrong Content-Type or Content-Length opens
nothing, and never holds before the scan. This also makes an early answer final: no report can turn a YES or a NO into
its contrary. A rule that edits headers waits for the scan, too: before it the body may be gone when the head goes.

The same care goes for what else is in a body, as its sender chooses that, too. A rule that refuses holds for any
finding it names and for any verdict that a finding would make by itself, though another finding ranks higher: an
encrypted file beside a macro does not hide the macro. A rule that lets pass and names findings holds only when it
names all that count.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from icapd.config.schema import Rule
from icapd.errors import ConfigurationError
from icapd.policy.actions import edits_of, redirect_of, wrong_actions
from icapd.policy.conditions import Content, Fixed, content_conditions, entries, fixed_conditions
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.names import Names
from icapd.policy.outcomes import MEANING, Result, finding_result, report_result, results_of
from icapd.policy.wrong import wrong_conditions
from icapd.scan.model import ERROR_KINDS, UNSCANNABLE_KINDS, Finding, ScanReport, Severity, Verdict

_JUDGEMENTS_FAILED = UNSCANNABLE_KINDS | ERROR_KINDS
NOTHING_COUNTS = frozenset({Verdict.CLEAN, Verdict.NOT_SCANNED})
"""Verdicts that hide no other: nothing was found, or the operator allowed exactly these bytes."""


class Match(enum.Enum):
    """Whether a rule holds."""

    YES = enum.auto()
    NO = enum.auto()
    NOT_YET_KNOWN = enum.auto()


@dataclass(frozen=True, slots=True)
class Findings:
    """The condition on findings: one finding must meet all three. None: whatever it is."""

    names: Names | None
    severities: frozenset[Severity] | None
    engines: Names | None

    def mean(self, finding: Finding) -> bool:
        """Whether this finding is meant: by its name, or by its kind where it counts.

        A note of severity INFO that something inside was not looked into (`not-opened:pdf`) is no reason for the
        verdict, so its kind does not name it.
        """
        if self.severities is not None and finding.severity not in self.severities:
            return False
        if self.engines is not None and finding.engine not in self.engines:
            return False
        if self.names is None:
            return True
        if finding.kind in _JUDGEMENTS_FAILED and finding.severity is Severity.INFO:
            return finding.name in self.names
        return finding.kind in self.names or finding.name in self.names


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to be asked. `verdicts`, `results`, `findings` None: whatever they are. `where` is its place."""

    where: str
    source: Rule
    decision: Decision
    refuses: bool
    verdicts: frozenset[Verdict] | None
    results: frozenset[Result] | None
    findings: Findings | None
    fixed: tuple[Fixed, ...]
    content: tuple[Content, ...]

    @property
    def is_judged(self) -> bool:
        """Whether only a scan report can say that it holds."""
        return not (
            self.verdicts is None and self.results is None and self.findings is None and self.decision.edits is None
        )

    def early(self, facts: Facts, listed: ScanReport | None = None) -> Match:
        """Whether the rule holds by what is known before a scan; `listed` has findings that are known by then."""
        for condition in self.fixed:
            if not condition.holds(facts):
                return Match.NO
        if self.is_judged:
            return Match.NOT_YET_KNOWN if listed is None else self._early_by(facts, listed)
        if not self.content:
            return Match.YES
        if self.refuses and all(content.claimed(facts) for content in self.content):
            return Match.YES
        return Match.NOT_YET_KNOWN

    def _early_by(self, facts: Facts, listed: ScanReport) -> Match:
        """Whether a rule on findings holds, whatever else will be found."""
        if self.refuses:
            asks_for_whole = not (self.verdicts is None and self.results is None)
            if asks_for_whole and listed.verdict in NOTHING_COUNTS:
                return Match.NOT_YET_KNOWN
            is_claimed = all(content.claimed(facts) for content in self.content)
            return Match.YES if is_claimed and self.holds(facts, listed) else Match.NOT_YET_KNOWN
        findings = self.findings
        if findings is None or all(findings.mean(f) for f in listed.findings if self._is_concerned(f)):
            return Match.NOT_YET_KNOWN
        return Match.NO

    def holds(self, facts: Facts, report: ScanReport) -> bool:
        """Whether the rule holds for a report."""
        return next(self.unmet(facts, report), None) is None

    def unmet(self, facts: Facts, report: ScanReport) -> Iterator[str]:
        """The keys of the conditions that do not hold."""
        for condition in self.fixed:
            if not condition.holds(facts):
                yield condition.key
        if self.verdicts is not None and not self._means_verdict(self.verdicts, report):
            yield "verdict"
        if self.results is not None and not self._means_result(self.results, report):
            yield "outcome"
        if self.findings is not None and not self._means_findings(self.findings, report):
            yield "finding"
        for content in self.content:
            if not (content.real(report) or (self.refuses and content.claimed(facts))):
                yield content.key

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
            and (self.findings is None or (kind is not None and self._is_for_kind(self.findings, kind)))
            and not self.fixed
            and not self.content
        )

    @staticmethod
    def _is_for_kind(findings: Findings, kind: str) -> bool:
        is_by_kind = findings.names is not None and kind in findings.names
        return is_by_kind and findings.severities is None and findings.engines is None

    def _looks_past(self, verdict: Verdict) -> bool:
        """Whether what is outranked counts, too."""
        return self.refuses and verdict not in NOTHING_COUNTS

    def _means_verdict(self, verdicts: frozenset[Verdict], report: ScanReport) -> bool:
        if report.verdict in verdicts:
            return True
        return self._looks_past(report.verdict) and any(
            finding.verdict in verdicts and finding.verdict is not Verdict.CLEAN for finding in report.findings
        )

    def _means_result(self, results: frozenset[Result], report: ScanReport) -> bool:
        means_whole = report_result(report) in results
        if self.refuses:
            return means_whole or (
                self._looks_past(report.verdict)
                and any(finding_result(f) in results for f in report.findings if f.verdict is not Verdict.CLEAN)
            )
        return means_whole and all(
            finding_result(finding) in results for finding in report.findings if finding.verdict is report.verdict
        )

    def _means_findings(self, findings: Findings, report: ScanReport) -> bool:
        if not any(map(findings.mean, report.findings)):
            return False
        return self.refuses or all(findings.mean(f) for f in report.findings if self._is_concerned(f))

    def _is_concerned(self, finding: Finding) -> bool:
        """Whether a finding counts, and for the verdict that the rule asks for, where it asks for one."""
        verdict = finding.verdict
        return verdict is not Verdict.CLEAN and (self.verdicts is None or verdict in self.verdicts)


def compile_rule(rule: Rule, where: str, *, is_shipped: bool = False) -> CompiledRule:
    """Makes a rule askable. One that redirects holds for requests alone.

    Raises: ConfigurationError with everything that cannot be meant so; `where` is the rule's key path.
    """
    problems = [*wrong_conditions(rule.when, where), *wrong_actions(rule, where)]
    if problems:
        raise ConfigurationError(problems)
    when = rule.when
    action = Action(rule.action)
    if action is Action.REDIRECT:
        when = when.model_copy(update={"method": "REQMOD"})
    decision = Decision(
        action,
        rule.name,
        rule.reason,
        rule.page,
        redirect_of(rule),
        edits_of(rule),
        is_shipped,
        rule.override,
        "MALICIOUS" in map(str.upper, [*entries(when.verdict), *entries(when.outcome)]),
    )
    return CompiledRule(
        where=where,
        source=rule.model_copy(update={"when": when}),
        decision=decision,
        refuses=decision.refuses,
        verdicts=frozenset(Verdict(name.upper()) for name in entries(when.verdict)) or None,
        results=frozenset(Result(name.lower()) for name in entries(when.outcome)) or None,
        findings=_findings(rule),
        fixed=tuple(fixed_conditions(when, decision.refuses)),
        content=tuple(content_conditions(when)),
    )


def _findings(rule: Rule) -> Findings | None:
    when = rule.when
    if when.finding is None and when.severity is None and when.engine is None:
        return None
    severities = frozenset(Severity[name.upper()] for name in entries(when.severity))
    return Findings(
        Names(entries(when.finding)) if when.finding is not None else None,
        severities or None,
        Names(entries(when.engine)) if when.engine is not None else None,
    )
