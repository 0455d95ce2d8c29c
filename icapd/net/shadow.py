"""Shadow mode: what another configuration would have said of transactions that are over.

Nothing here reaches a client. A share of transactions is asked again, by another policy on the same facts; where the
rules of engines differ, too, the body first goes through scanners of their own, while there is room. Differences are
counted by rule and host, of which there may be any number: so many are told apart, the rest is one.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icapd.errors import ScanError
from icapd.net.record import Claims
from icapd.net.services import ServiceEntry, ServiceTable
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.policy.facts import Action, Decision, Facts
from icapd.scan.merge import merge, with_findings
from icapd.scan.model import CacheKey, ScanReport
from icapd.scan.pipeline import Scans
from icapd.scan.spool import Body
from icapd.scan.tree import Examination

DIFFERENCES: Final = "icapd_shadow_differences_total"
DIFFERENCES_MAX: Final = 1000
"""Told apart in one front. What comes after is counted without its host, and then not by rule either."""
OTHER_HOSTS: Final = "(others)"

_REPORTS_MAX: Final = 4096
_HOST_CHARACTERS: Final = 100
_SAMPLE_SPACE: Final = 1 << 32


class Room(Scans, Protocol):
    """Scanners with the other rules, and how much they have to do."""

    @property
    def queued(self) -> int: ...

    @property
    def running(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried. `scans` is None where its rules are those in force, or are not to be tried.

    `identity` names the configuration; `carried` are the engines whose word is taken over, as no scanner has them.
    """

    identity: str
    share: float
    services: ServiceTable
    scans: Room | None
    queue_tasks: int
    max_body_bytes: int
    scan_s: float
    carried: frozenset[str]
    reports: OrderedDict[CacheKey, ScanReport] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One transaction, and how it was answered."""

    identifier: str
    claims: Claims
    facts: Facts
    decision: Decision
    entry: ServiceEntry


class Shadow:
    """State: `_trial`, None while nothing is tried; `_seen`, the differences that are told apart."""

    def __init__(self, counters: Counters, log: EventLog, now: Callable[[], float]) -> None:
        self._counters = counters
        self._log = log
        self._now = now
        self._trial: Trial | None = None
        self._seen: set[tuple[str, ...]] = set()

    def follow(self, trial: Trial | None) -> None:
        """From now on this is tried. What was counted of another one is forgotten."""
        if self._trial is None or trial is None or trial.identity != self._trial.identity:
            self._counters.forget(DIFFERENCES)
            self._seen.clear()
        self._trial = trial

    def look(
        self, identifier: str, claims: Claims, service: str, decision: Decision | None, body: Body | None
    ) -> None:
        """A transaction is answered. Never raises: nobody waits for what comes of it."""
        trial = self._trial
        if trial is None or decision is None or zlib.crc32(identifier.encode()) >= trial.share * _SAMPLE_SPACE:
            return
        entry = trial.services.find(service)
        if entry is None or decision.action is Action.OVERRIDE:
            return
        try:
            self._ask(trial, _Asked(identifier, claims, structs.replace(claims.facts), decision, entry), body)
        except Exception:  # the border: a trial must not harm what it looks at
            self._fail(Failure())

    def _ask(self, trial: Trial, asked: _Asked, body: Body | None) -> None:
        facts, judging = asked.facts, asked.entry.judging
        if trial.scans is None or body is None or not facts.sha256 or not asked.entry.scans:
            self._compare(trial, asked)
            return
        key = CacheKey(facts.sha256, body.size_bytes, judging.ruleset, asked.claims.inner.content_coding)
        known = trial.reports.get(key)
        if known is not None:
            trial.reports.move_to_end(key)
            self._take(known, trial, asked)
            return
        is_busy = trial.scans.queued + trial.scans.running >= trial.queue_tasks
        if is_busy or body.size_bytes > trial.max_body_bytes:
            self._counters.add("icapd_shadow_total", ("dropped",))
            return
        kill_at = self._now() + trial.scan_s
        scanning: Deferred[Examination] = trial.scans.submit(
            key, judging.engines, body, asked.claims.client, kill_at, kill_at
        )
        scanning.addCallback(self._examined, key, trial, asked)
        scanning.addErrback(self._fail)

    def _examined(self, examination: Examination, key: CacheKey, trial: Trial, asked: _Asked) -> None:
        report = merge(examination, asked.entry.judging.required - trial.carried)
        trial.reports[key] = report
        if len(trial.reports) > _REPORTS_MAX:
            trial.reports.popitem(last=False)
        self._take(report, trial, asked)

    def _take(self, report: ScanReport, trial: Trial, asked: _Asked) -> None:
        """The other rules have spoken; what they do not know is taken over."""
        before = asked.facts.report
        if before is not None and trial.carried:
            report = with_findings(report, [f for f in before.findings if f.engine in trial.carried])
        asked.facts.report = asked.claims.in_context(report)
        self._compare(trial, asked)

    def _compare(self, trial: Trial, asked: _Asked) -> None:
        now, then = asked.decision, asked.entry.policy.decide(asked.facts)
        if trial is not self._trial:
            return
        change = "same"
        if now.refuses is not then.refuses:
            change = "blocks" if then.refuses else "releases"
        self._counters.add("icapd_shadow_total", (change,))
        if change == "same":
            return
        host = (asked.facts.host or "-")[:_HOST_CHARACTERS]
        rules = (trial.identity, change, now.rule, str(now.action), then.rule, str(then.action))
        labels = self._told_apart((*rules, host))
        if labels not in self._seen:
            self._seen.add(labels)
            self._log.event(
                EventName.SHADOW_DIFFERENCE,
                transaction=asked.identifier,
                change=change,
                rule=now.rule,
                action=str(now.action),
                shadow_rule=then.rule,
                shadow_action=str(then.action),
                url=asked.claims.url,
            )
        self._counters.add(DIFFERENCES, labels)

    def _told_apart(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """These labels while there is room for them, else those of fewer and fewer."""
        if labels in self._seen or len(self._seen) < DIFFERENCES_MAX:
            return labels
        without_host = (*labels[:-1], OTHER_HOSTS)
        if without_host in self._seen or len(self._seen) < 2 * DIFFERENCES_MAX:
            return without_host
        return (*labels[:2], "(others)", "", "(others)", "", OTHER_HOSTS)

    def _fail(self, failure: Failure) -> None:
        self._counters.add("icapd_shadow_total", ("failed",))
        if not failure.check(ScanError):
            self._log.event(EventName.INTERNAL_ERROR, error=failure.getErrorMessage(), traceback="in shadow mode")
