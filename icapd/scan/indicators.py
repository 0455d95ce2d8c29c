"""Indicators that add up: what weak signs in one document say together. Pure values; part of what engines may import.

An engine owns a table of `Indicator` rows and of `Combination` rows, collects the rows that it sees in one document
and calls `add_up`. Every row seen is recorded as a finding of kind `info`, so that policy can name it; one finding
more says what all of them amount to, under the name of the heaviest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from icapd.scan.model import Finding, FindingKind, Severity

FINDINGS_MAX = 24
"""Rows recorded of one document; the heaviest are kept."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """One row: a sign, how much it weighs, and where it is written down.

    `group` is what combinations ask for. `words` are looked for in lower-case text: no word, no search for `pattern`;
    without a pattern a word is enough; a row without words is seen by code, not by text.
    """

    name: str
    group: str
    weight: int
    severity: Severity
    technique: str
    source: str
    meaning: str
    words: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None

    def is_in(self, text: str) -> bool:
        """Whether lower-case text shows this sign."""
        if not any(word in text for word in self.words):
            return False
        return self.pattern is None or self.pattern.search(text) is not None


@dataclass(frozen=True, slots=True)
class Combination:
    """Groups that say more together than one by one."""

    name: str
    needs: frozenset[str]
    weight: int
    severity: Severity
    technique: str
    source: str
    meaning: str


Row = Indicator | Combination


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which sum on a document is suspicious, and from which malicious."""

    suspicious: int
    malicious: int


def seen_in(text: str, rows: Sequence[Indicator], check_time: Callable[[], None]) -> Iterator[Indicator]:
    """The rows whose signs stand in a text, which is lower case. `check_time` is called between rows."""
    for row in rows:
        check_time()
        if row.is_in(text):
            yield row


def add_up(
    engine: str,
    seen: Iterable[Indicator],
    combinations: Iterable[Combination],
    thresholds: Thresholds,
    trail: tuple[str, ...],
) -> list[Finding]:
    """The findings for one document: what the rows amount to, then each row.

    Weak signs alone never make a document malicious: that takes a row or combination of severity HIGH as well.
    """
    rows: dict[str, Row] = {row.name: row for row in seen}
    groups = {row.group for row in rows.values() if isinstance(row, Indicator)}
    rows |= {each.name: each for each in combinations if each.needs <= groups}
    if not rows:
        return []
    heaviest_first = sorted(rows.values(), key=attrgetter("weight"), reverse=True)
    score = sum(row.weight for row in heaviest_first)
    worst = max(row.severity for row in heaviest_first)
    recorded = heaviest_first[:FINDINGS_MAX]
    first = heaviest_first[0]
    findings = []
    if score >= thresholds.malicious and worst >= Severity.HIGH:
        findings.append(Finding(FindingKind.MALWARE, first.name, engine, worst, trail))
    elif score >= thresholds.suspicious:
        findings.append(Finding(FindingKind.SUSPICIOUS, first.name, engine, max(worst, Severity.LOW), trail))
    rest = recorded[1:] if findings else recorded
    return findings + [Finding(FindingKind.INFO, row.name, engine, Severity.INFO, trail) for row in rest]
