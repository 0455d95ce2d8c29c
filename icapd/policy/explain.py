"""Says which rule answers a transaction, and why those before it do not."""

from __future__ import annotations

from typing import NamedTuple

from icapd.policy.decide import UNCOVERED, Policy
from icapd.policy.facts import Decision, Facts
from icapd.policy.rules import CompiledRule
from icapd.scan.model import ScanReport, Verdict


class Passed(NamedTuple):
    """A rule that does not answer, and its conditions that do not hold."""

    rule: CompiledRule
    unmet: tuple[str, ...]


class Explanation(NamedTuple):
    """`rule` is None where no rule answers, and the content is blocked. `is_early`: decided before the scan."""

    decision: Decision
    rule: CompiledRule | None
    is_early: bool
    passed: tuple[Passed, ...]


def explain(policy: Policy, facts: Facts) -> Explanation:
    """What `policy` does with these facts."""
    early = policy.early(facts)
    decision = early or policy.decide(facts)
    report = facts.report or ScanReport(Verdict.NOT_SCANNED)
    passed: list[Passed] = []
    for rule in policy.rules:
        if rule.decision is decision:
            return Explanation(decision, rule, early is not None, tuple(passed))
        passed.append(Passed(rule, tuple(rule.unmet(facts, report))))
    return Explanation(UNCOVERED, None, False, tuple(passed))
