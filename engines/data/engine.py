"""The engine itself: shows text to the detectors and to the operator's own rules. Runs in a scanner process.

Findings name what was seen, never the thing: a sample shows its first letters and hides the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import re2

from engines.data.detect import DETECTORS, VALUES_MAX, Seen
from engines.data.text import is_text, plain_text
from engines.data.validate import VALIDATORS
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity

NAME: Final = "data"
LIMIT: Final = "data.max_text_bytes"
Level = Literal["info", "low", "medium", "high", "critical"]
_SHOWN: Final = 4
_HIDDEN_MAX: Final = 12


class Found(NamedTuple):
    """What a minimum of distinct values amounts to."""

    level: Level
    minimum: int


class OwnRule(NamedTuple):
    """A rule of the operator's. re2 takes time in proportion to the text, whatever the pattern is."""

    name: str
    pattern: re2._Regexp
    validator: str
    found: Found

    def values(self, text: bytes) -> Iterator[Seen]:
        is_valid = VALIDATORS[self.validator]
        for number, match in enumerate(self.pattern.finditer(text)):
            if number >= VALUES_MAX:
                return
            value = match.group(0)
            if value and is_valid(value):
                yield Seen(self.name, value)


class DataEngine:
    """State: none between samples."""

    name = NAME

    def __init__(
        self, builtin: dict[str, Found], rules: Sequence[OwnRule], max_text_bytes: int, timeout_s: float
    ) -> None:
        self._searches = [
            *((DETECTORS[key], found) for key, found in builtin.items()),
            *((rule.values, rule.found) for rule in rules),
        ]
        self._max_text_bytes = max_text_bytes
        self._timeout_s = timeout_s

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        """What is in one text, body or member; of other content nothing is said."""
        if not is_text(sample.identity):
            return EngineReport(self.name, Outcome.SKIPPED, reason="no text")
        started = time.monotonic()
        deadline = started + min(self._timeout_s, budget.remaining_s)
        text = plain_text(sample.head(self._max_text_bytes), sample.identity)
        findings: list[Finding] = []
        if sample.size_bytes > self._max_text_bytes:
            findings.append(Finding(FindingKind.LIMIT, LIMIT, self.name, Severity.MEDIUM, sample.trail))
        outcome = Outcome.UNSCANNABLE if findings else Outcome.NOTHING_FOUND
        for search, found in self._searches:
            if time.monotonic() >= deadline:
                outcome = Outcome.TIMED_OUT
                break
            findings += _findings(search(text), found, sample.trail)
        if findings and outcome is Outcome.NOTHING_FOUND:
            outcome = Outcome.FOUND
        return EngineReport(self.name, outcome, tuple(findings), time.monotonic() - started)


def _findings(seen: Iterable[Seen], found: Found, trail: tuple[str, ...]) -> Iterator[Finding]:
    """One finding a name, if enough distinct values bear it."""
    values: dict[str, dict[bytes, None]] = {}
    for name, value in seen:
        values.setdefault(name, {})[value] = None
    kind = FindingKind.INFO if found.level == "info" else FindingKind.FORBIDDEN
    for name, distinct in values.items():
        if len(distinct) >= found.minimum:
            masked = mask(next(iter(distinct)))
            sample = masked if len(distinct) == 1 else f"{masked} and {len(distinct) - 1} more"
            severity = Severity[found.level.upper()]
            yield Finding(kind, f"{NAME}/{name}", NAME, severity, trail, sample=sample)


def mask(value: bytes) -> str:
    """The first letters, and as many stars as hide how long it is; nothing of what is short."""
    text = value.decode("ascii", "replace").replace("\ufffd", "?")
    shown = text[: min(_SHOWN, len(text) // 3)]
    shown = "".join(letter if letter.isprintable() else "?" for letter in shown)
    return shown + "*" * min(max(len(text) - len(shown), 0), _HIDDEN_MAX)
