"""The engine itself: matches one sample against all rulesets and reports. Runs in a scanner process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from engines.yara.rulesets import RuleKey, Ruleset, RulesetFailed
from icapd.scan.engine_api import DeadlineReached
from icapd.scan.model import Budget, EngineReport, Finding, Outcome, Sample


class YaraEngine:
    """Matches samples against compiled rules.

    State: none between samples; the rulesets' scanners are reused, their results are not.
    """

    name = "yara"

    def __init__(self, rulesets: Sequence[Ruleset], findings: Mapping[RuleKey, Finding], timeout_s: float) -> None:
        self._rulesets = rulesets
        self._findings = findings
        self._timeout_s = timeout_s

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        """What the rules say of one sample.

        Findings of one ruleset stand even when the other ran out of time: a hit beside a timeout is still a hit.
        """
        if not self._rulesets:
            return EngineReport(self.name, Outcome.SKIPPED, reason="no rules")
        started = time.monotonic()
        deadline = started + min(self._timeout_s, budget.remaining_s)
        hits: list[RuleKey] = []
        outcome, reason = Outcome.NOTHING_FOUND, ""
        for ruleset in self._rulesets:
            try:
                hits += ruleset.match(sample, _left_s(deadline))
            except DeadlineReached:
                outcome, reason = Outcome.TIMED_OUT, "time is over"
                break
            except RulesetFailed as error:
                outcome, reason = Outcome.FAILED, str(error)
        if hits and outcome is Outcome.NOTHING_FOUND:
            outcome = Outcome.FOUND
        findings = self._worst_first(hits, sample.trail) if hits else ()
        return EngineReport(self.name, outcome, findings, time.monotonic() - started, reason)

    def _worst_first(self, hits: list[RuleKey], trail: tuple[str, ...]) -> tuple[Finding, ...]:
        findings = sorted((self._findings[key] for key in hits), key=lambda found: (-found.severity, found.name))
        if not trail:
            return tuple(findings)
        return tuple(msgspec.structs.replace(finding, trail=trail) for finding in findings)


def _left_s(deadline: float) -> float:
    """Raises: DeadlineReached when nothing is left."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise DeadlineReached
    return left_s
