"""The one walk over a body: identify it, show it to every engine, open it, and do the same with what is inside.

Depth first, under one Budget for the whole tree. Whatever an engine does (raises, runs out of time, hits a limit),
the walk ends with one report of each engine and keeps what was found before. It runs in a scanner and reads nothing
but the clock.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol, TypeVar, runtime_checkable

import msgspec

from icapd.errors import DeadlineReached, LimitReached
from icapd.scan.engine_api import Engine, Identifier, Unpacker
from icapd.scan.model import (
    CODING,
    NO_CODING,
    UNKNOWN_IDENTITY,
    UNSCANNABLE_KINDS,
    Budget,
    EngineReport,
    Finding,
    FindingKind,
    Identity,
    Outcome,
    Sample,
    Severity,
)
from icapd.scan.selection import EVERYTHING, Selection, SelectionClass

IDENTIFY: Final = "identify"

REASON_CHARACTERS: Final = 200
FINDINGS_OF_ONE_NAME: Final = 8
FINDINGS_OF_ONE_ENGINE: Final = 256

_RANK: Final = {
    Outcome.SKIPPED: 0,
    Outcome.NOTHING_FOUND: 1,
    Outcome.FOUND: 2,
    Outcome.UNSCANNABLE: 3,
    Outcome.TIMED_OUT: 4,
    Outcome.FAILED: 5,
}
"""Which outcome stands for the whole body when members differ: the one that leaves most unjudged."""


@runtime_checkable
class SetsBudget(Protocol):
    """An unpacker whose options say what one body may use."""

    def budget(self, deadline: float) -> Budget: ...


@dataclass(frozen=True)
class EngineSet:
    """The engines of a scanner, built. `timeouts_s` and `required` are by engine name."""

    identifier: Identifier | None = None
    engines: tuple[Engine, ...] = ()
    unpackers: tuple[Unpacker, ...] = ()
    timeouts_s: Mapping[str, float] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    selection: Selection = field(default_factory=Selection)

    def only(self, names: Collection[str]) -> EngineSet:
        """The engines of one service. What identifies content always stays: the others rely on it."""
        return replace(
            self,
            engines=tuple(engine for engine in self.engines if engine.name in names),
            unpackers=tuple(unpacker for unpacker in self.unpackers if unpacker.name in names),
            required=self.required & {IDENTIFY, *names},
        )

    @cached_property
    def shares(self) -> tuple[tuple[str, float], ...]:
        """Who reports on a body, in order, with the seconds each may take for it."""
        names = [IDENTIFY] if self.identifier is not None else []
        names += [engine.name for engine in self.engines]
        names += [unpacker.name for unpacker in self.unpackers]
        return tuple((name, self.timeouts_s.get(name, float("inf"))) for name in dict.fromkeys(names))

    def budget(self, deadline: float) -> Budget:
        """A fresh budget for one body. Units: `deadline` is a `time.monotonic()` reading."""
        return self._budgets(deadline)

    @cached_property
    def _budgets(self) -> Callable[[float], Budget]:
        return next((each.budget for each in self.unpackers if isinstance(each, SetsBudget)), Budget)


class Examination(msgspec.Struct, frozen=True):
    """What the local engines say of one body: one report an engine, findings with their trails.

    `identity` is of the decoded body where a content coding was undone.
    """

    identity: Identity = UNKNOWN_IDENTITY
    reports: tuple[EngineReport, ...] = ()
    size_bytes: int = 0
    elapsed_s: float = 0.0


def examine(sample: Sample, engines: EngineSet, budget: Budget) -> Examination:
    """Walks over a body and everything inside it. Never raises for what engines do.

    An exact allow-list hit on the body itself ends the walk; engines not asked by then are SKIPPED. One on a member
    spares that member and what is inside it: no further engine is asked, and what others found in it is dropped.
    """
    return _Walk(engines, budget, sample).run()


_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class _Stop(Exception):
    """Nothing more is to be looked at."""


class _Tally:
    """What one engine said so far. State: `outcome` only rises in rank; time and findings only grow.

    What stays as it is for most bodies has its default in the class.
    """

    outcome = Outcome.SKIPPED
    reason = ""
    elapsed_s = 0.0
    skipped = 0

    def __init__(self, engine: str, timeout_s: float) -> None:
        self.engine = engine
        self.timeout_s = timeout_s
        self.findings: list[Finding] = []
        self._of_name: Counter[tuple[FindingKind, str]] | None = None

    def rise(self, outcome: Outcome, reason: str = "") -> None:
        if outcome is self.outcome:
            self.reason = self.reason or reason
        elif _RANK[outcome] > _RANK[self.outcome]:
            self.outcome, self.reason = outcome, reason

    def fail(self, error: Exception) -> None:
        self.rise(Outcome.FAILED, f"{type(error).__name__}: {error}"[:REASON_CHARACTERS])

    def limit(self, name: str, trail: tuple[str, ...]) -> None:
        self.note(Finding(FindingKind.LIMIT, name, self.engine, Severity.MEDIUM, trail))

    def note(self, finding: Finding) -> None:
        """Keeps a finding; past the ceilings only one that is worse than a kept one, in its place."""
        self.rise(Outcome.UNSCANNABLE if _is_unscannable(finding) else Outcome.FOUND)
        if self._of_name is None:
            self._of_name = Counter()
        key = (finding.kind, finding.name)
        self._of_name[key] += 1
        if self._of_name[key] > FINDINGS_OF_ONE_NAME:
            return
        if len(self.findings) < FINDINGS_OF_ONE_ENGINE:
            self.findings.append(finding)
            return
        least = min(range(len(self.findings)), key=lambda at: self.findings[at].severity)
        if self.findings[least].severity < finding.severity:
            self.findings[least] = finding

    def take(self, report: EngineReport) -> None:
        for finding in report.findings:
            self.note(finding)
        self.rise(report.outcome, report.reason[:REASON_CHARACTERS])

    def report(self) -> EngineReport:
        reason = self.reason
        if self.skipped and not reason:
            reason = f"{self.skipped} inert, not shown to it"
        return EngineReport(self.engine, self.outcome, tuple(self.findings), self.elapsed_s, reason)


class _Walk:
    """One walk. State: one tally an engine, the identity of the body, the class of the sample at hand, and the
    budget's counters."""

    def __init__(self, engines: EngineSet, budget: Budget, body: Sample) -> None:
        self._engines = engines
        self._budget = budget
        self._body = body
        self._bytes_at_start = budget.bytes_left
        self._started = time.monotonic()
        self._tallies = tallies = {name: _Tally(name, timeout_s) for name, timeout_s in engines.shares}
        self._judges = [(engine, tallies[engine.name]) for engine in engines.engines]
        self._openers = [(unpacker, tallies[unpacker.name]) for unpacker in engines.unpackers]
        self._identity = UNKNOWN_IDENTITY
        self._class = EVERYTHING

    def run(self) -> Examination:
        try:
            self._visit(self._body)
        except _Stop:
            pass
        except DeadlineReached:
            # Members are left, or might be: no engine has judged the whole body.
            for tally in self._tallies.values():
                tally.rise(Outcome.TIMED_OUT, "the time of the scan was over")
        reports = tuple(tally.report() for tally in self._tallies.values())
        return Examination(self._identity, reports, self._body.size_bytes, time.monotonic() - self._started)

    def _visit(self, sample: Sample) -> None:
        self._identify(sample)
        chosen = self._class = self._engines.selection.choose(sample)
        if self._is_allowed(sample):
            return
        is_opened = False
        skips = chosen.skips
        for unpacker, tally in self._openers:
            if skips and tally.engine in skips:
                tally.skipped += 1
            elif self._has_use_for(unpacker, tally, sample):
                is_opened |= self._open(unpacker, tally, sample, chosen)
        if sample.coding and sample.data and not is_opened:
            self._note_codings(sample)

    def _identify(self, sample: Sample) -> None:
        if self._engines.identifier is None:
            return
        tally = self._tallies[IDENTIFY]
        tally.rise(Outcome.NOTHING_FOUND)
        started = time.monotonic()
        try:
            sample.identity = self._engines.identifier.identify(sample)
        except Exception as error:
            tally.fail(error)
        tally.elapsed_s += time.monotonic() - started
        if not sample.trail:
            self._identity = sample.identity

    def _is_allowed(self, sample: Sample) -> bool:
        """Shows a sample to the engines, up to the first that allows exactly this sample.

        Raises: _Stop when it is the body itself.
        """
        answers: list[tuple[_Tally, EngineReport]] = []
        is_allowed = False
        skips = self._class.skips
        for engine, tally in self._judges:
            if skips and tally.engine in skips:
                tally.skipped += 1
                continue
            if tally.outcome is Outcome.TIMED_OUT:
                continue
            answer = self._lend(tally, sample, self._ask, engine)
            if answer is None:
                continue
            answers.append((tally, answer))
            if any(_is_exact(finding) and finding.trail == sample.trail for finding in answer.findings):
                is_allowed = True
                break
        for tally, report in answers:
            report = _spared(report) if is_allowed and sample.trail else report
            try:
                tally.take(report)
            except Exception as error:  # what a strange report raises is its engine's failure
                tally.fail(error)
        if is_allowed and not sample.trail:
            raise _Stop
        return is_allowed

    def _ask(self, sample: Sample, engine: Engine) -> EngineReport | None:
        """What an engine says; None where that is nothing."""
        self._budget.check_time()
        report = engine.scan(sample, self._budget)
        if report.findings:
            findings = tuple([_placed(finding, sample) for finding in report.findings])
            return msgspec.structs.replace(report, findings=findings)
        if _RANK[report.outcome] < 2:  # nothing that an allow list changes
            self._tallies[engine.name].take(report)
            return None
        return report

    def _lend(
        self, tally: _Tally, sample: Sample, ask: Callable[[Sample, _Asked], _Answer], asked: _Asked
    ) -> _Answer | None:
        """What `ask` answers within the engine's own share of the time. What it raises becomes the engine's outcome,
        and None is returned."""
        budget = self._budget
        whole = budget.deadline
        started = time.monotonic()
        end = started + tally.timeout_s * self._class.time_share - tally.elapsed_s
        if end < whole:
            budget.deadline = end
        try:
            return ask(sample, asked)
        except LimitReached as reached:
            tally.limit(reached.limit, sample.trail)
        except DeadlineReached:
            tally.rise(Outcome.TIMED_OUT, "the engine's time was over")
        except Exception as error:
            tally.fail(error)
        finally:
            budget.deadline = whole
            tally.elapsed_s += time.monotonic() - started
        return None

    def _note_codings(self, sample: Sample) -> None:
        """A body in a coding that nobody undid was judged as other bytes than its receiver sees."""
        tokens = (token.strip().lower() for token in sample.coding.split(","))
        for token in [token for token in tokens if token not in NO_CODING][:1]:
            tally = self._tallies.setdefault(CODING, _Tally(CODING, float("inf")))
            name = f"unsupported:coding-{re.sub(r'[^a-z0-9.-]', '_', token)[:32]}"
            tally.note(Finding(FindingKind.UNSUPPORTED, name, CODING, Severity.MEDIUM, sample.trail))

    def _has_use_for(self, unpacker: Unpacker, tally: _Tally, sample: Sample) -> bool:
        """Whether an unpacker opens a sample. Asked of every sample, so without the budget, which it is not shown."""
        outcome = tally.outcome
        if outcome is Outcome.TIMED_OUT:
            return False
        if outcome is Outcome.SKIPPED:
            tally.outcome = Outcome.NOTHING_FOUND
        started = time.monotonic()
        try:
            opens = unpacker.opens(sample)
        except Exception as error:
            tally.fail(error)
            opens = False
        tally.elapsed_s += time.monotonic() - started
        return opens

    def _open(self, unpacker: Unpacker, tally: _Tally, sample: Sample, chosen: SelectionClass) -> bool:
        """Visits what an unpacker finds inside a sample; returns whether it found any, or said why it could not.

        Raises: DeadlineReached when there is something to open and no time; _Stop past the ratio of the whole tree.
        """
        budget = self._budget
        budget.check_time()
        depth_left = budget.depth_left
        budget.depth_left = min(depth_left, chosen.max_depth)
        is_opened = False
        if budget.depth_left <= 0:
            tally.limit("archive.max_depth", sample.trail)
        else:
            steps = unpacker.unpack(sample, budget)
            while (item := self._lend(tally, sample, _next, steps)) is not None:
                if isinstance(item, Finding):
                    tally.note(_placed(item, sample))
                    is_opened |= _is_unscannable(item)
                else:
                    is_opened = True
                    self._visit_member(item, tally)
                    self._class = chosen
                del item  # a member goes before the next one is made
            if tally.outcome is Outcome.TIMED_OUT:
                budget.check_time()
        budget.depth_left = depth_left
        return is_opened

    def _visit_member(self, member: Sample, tally: _Tally) -> None:
        """Raises: as `_open`."""
        budget = self._budget
        budget.depth_left -= 1
        budget.held_bytes_left -= member.size_bytes
        self._visit(member)
        budget.held_bytes_left += member.size_bytes
        budget.depth_left += 1
        try:
            budget.check_ratio(self._body.size_bytes, self._bytes_at_start - budget.bytes_left)
        except LimitReached as reached:
            tally.limit(reached.limit, ())
            raise _Stop from reached
        budget.check_time()


def _next(sample: Sample, steps: Iterator[Sample | Finding]) -> Sample | Finding | None:
    return next(steps, None)


def _placed(finding: Finding, sample: Sample) -> Finding:
    """A finding with the whole trail, whatever the engine knew of it."""
    if finding.trail[: len(sample.trail)] == sample.trail:
        return finding
    return msgspec.structs.replace(finding, trail=sample.trail + finding.trail)


def _spared(report: EngineReport) -> EngineReport:
    """What is left of a report on a member that an allow list names."""
    allowed = tuple(finding for finding in report.findings if _is_exact(finding))
    return EngineReport(report.engine, Outcome.FOUND if allowed else Outcome.NOTHING_FOUND, allowed)


def _is_exact(finding: Finding) -> bool:
    return finding.kind is FindingKind.ALLOWED and finding.certain


def _is_unscannable(finding: Finding) -> bool:
    return finding.kind in UNSCANNABLE_KINDS and finding.severity > Severity.INFO
