"""Engines and an unpacker that a test can read at a glance, and a walk with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Identity, Outcome, Sample
from icapd.scan.tree import EngineSet, Examination, examine

FAR = 60.0


class ByFirstByte:
    """Identifies a sample by its first byte."""

    def identify(self, sample: Sample) -> Identity:
        if sample.head(1) == b"!":
            raise ValueError("no idea")
        return Identity(f"test/{sample.head(1).decode()}", "data")


@dataclass
class Finder:
    """Finds b"evil"; otherwise does as told."""

    name: str = "finder"
    act: Callable[[Sample, Budget], EngineReport | None] = lambda sample, budget: None
    seen: list[tuple[str, ...]] = field(default_factory=list)

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        self.seen.append(sample.trail)
        report = self.act(sample, budget)
        if report is not None:
            return report
        if b"evil" not in bytes(sample.data):
            return EngineReport(self.name, Outcome.NOTHING_FOUND)
        return EngineReport(self.name, Outcome.FOUND, (Finding(FindingKind.MALWARE, "Evil", self.name),))


class Brackets:
    """Opens b"[a,b,[c]]": members between brackets, named by the commas before their end."""

    name = "brackets"

    def __init__(self, ending: BaseException | Finding | None = None) -> None:
        self.ending = ending

    def opens(self, sample: Sample) -> bool:
        return sample.head(1) == b"["

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        inside, depth, start = bytes(sample.data)[1:-1] + b",", 0, 0
        for at, byte in enumerate(inside):
            depth += (byte == ord("[")) - (byte == ord("]"))
            if byte == ord(",") and not depth:
                budget.take_member()
                member = inside[start:at]
                budget.take_bytes(len(member))
                start = at + 1
                yield sample.member(member, f"m{inside[:at].count(b',')}")
        if isinstance(self.ending, Finding):
            yield self.ending
        elif self.ending is not None:
            raise self.ending


def walk(
    body: bytes, *engines: Finder, unpacker: Brackets | None = None, budget: Budget | None = None, **timeouts: float
) -> dict[str, EngineReport]:
    return reports(
        examine(
            Sample(body),
            EngineSet(ByFirstByte(), engines, (unpacker or Brackets(),), timeouts),
            budget or Budget(time.monotonic() + FAR),
        )
    )


def reports(examination: Examination) -> dict[str, EngineReport]:
    return {report.engine: report for report in examination.reports}


def spend(budget: Budget) -> None:
    """Works until the time of the budget is over, as an engine in the middle of a large sample would."""
    while True:
        budget.check_time()
