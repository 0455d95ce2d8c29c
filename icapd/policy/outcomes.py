"""What a transaction came to, in one word of a closed list: rules name it; logs, metrics, headers and pages show it.

A verdict says how far engines got; `Result` also says why they got no further. It is derived from the report and the
decision, never kept.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final

from icapd.policy.facts import Decision
from icapd.scan.model import ABSENT_PREFIX, BODY_LIMIT, Finding, FindingKind, ScanReport, Verdict


class Result(enum.StrEnum):
    """One word for a whole transaction. Where several would do for one verdict, the first in this order stands."""

    CLEAN = "clean"
    MALICIOUS = "malicious"
    SUSPICIOUS = "suspicious"
    FORBIDDEN = "forbidden"
    """On a list, or against a data rule; or refused by a rule though nothing was found."""
    TOO_LARGE = "too-large"
    LIMIT = "limit"
    UNSUPPORTED = "unsupported"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed-out"
    ENGINE_ABSENT = "engine-absent"
    ENGINE_FAILED = "engine-failed"
    NOT_SCANNED = "not-scanned"
    """On purpose: the service does not scan, or a rule let the body pass by its heads."""


MEANING: Final = MappingProxyType(
    {
        Result.CLEAN: (Verdict.CLEAN, None),
        Result.MALICIOUS: (Verdict.MALICIOUS, FindingKind.MALWARE),
        Result.SUSPICIOUS: (Verdict.SUSPICIOUS, FindingKind.SUSPICIOUS),
        Result.FORBIDDEN: (Verdict.FORBIDDEN, FindingKind.FORBIDDEN),
        Result.TOO_LARGE: (Verdict.UNSCANNABLE, FindingKind.LIMIT),
        Result.LIMIT: (Verdict.UNSCANNABLE, FindingKind.LIMIT),
        Result.UNSUPPORTED: (Verdict.UNSCANNABLE, FindingKind.UNSUPPORTED),
        Result.ENCRYPTED: (Verdict.UNSCANNABLE, FindingKind.ENCRYPTED),
        Result.CORRUPT: (Verdict.UNSCANNABLE, FindingKind.CORRUPT),
        Result.OVERLOADED: (Verdict.ERROR, FindingKind.OVERLOAD),
        Result.TIMED_OUT: (Verdict.ERROR, FindingKind.TIMEOUT),
        Result.ENGINE_ABSENT: (Verdict.ERROR, FindingKind.FAILED),
        Result.ENGINE_FAILED: (Verdict.ERROR, FindingKind.FAILED),
        Result.NOT_SCANNED: (Verdict.NOT_SCANNED, None),
    }
)
"""Each result's verdict, and the kind of finding that makes it."""

_ORDER: Final = {result: place for place, result in enumerate(Result)}
_BY_KIND: Final = {
    FindingKind.LIMIT: Result.LIMIT,
    FindingKind.UNSUPPORTED: Result.UNSUPPORTED,
    FindingKind.ENCRYPTED: Result.ENCRYPTED,
    FindingKind.CORRUPT: Result.CORRUPT,
    FindingKind.OVERLOAD: Result.OVERLOADED,
    FindingKind.TIMEOUT: Result.TIMED_OUT,
    FindingKind.FAILED: Result.ENGINE_FAILED,
}
_BY_VERDICT: Final = {
    Verdict.CLEAN: Result.CLEAN,
    Verdict.MALICIOUS: Result.MALICIOUS,
    Verdict.SUSPICIOUS: Result.SUSPICIOUS,
    Verdict.FORBIDDEN: Result.FORBIDDEN,
    Verdict.NOT_SCANNED: Result.NOT_SCANNED,
}
_UNEXPLAINED: Final = {Verdict.UNSCANNABLE: Result.UNSUPPORTED, Verdict.ERROR: Result.ENGINE_FAILED}
_NOTHING_AGAINST: Final = frozenset({Result.CLEAN, Result.NOT_SCANNED})


def results_of(verdict: Verdict) -> frozenset[Result]:
    """Every result that a report of this verdict may have."""
    return frozenset(result for result, (its_verdict, _) in MEANING.items() if its_verdict is verdict)


def sample_report(result: Result) -> ScanReport:
    """A report of this result and nothing else, to ask a policy what it would do."""
    verdict, kind = MEANING[result]
    name = {Result.TOO_LARGE: BODY_LIMIT, Result.ENGINE_ABSENT: f"{ABSENT_PREFIX}engine"}.get(result, result.value)
    return ScanReport(verdict, () if kind is None else (Finding(kind, name, "engine"),))


def finding_result(finding: Finding) -> Result:
    """What this finding would make of a transaction by itself; CLEAN for what is recorded only."""
    verdict = finding.verdict
    if verdict in _BY_VERDICT:
        return _BY_VERDICT[verdict]
    if finding.kind is FindingKind.LIMIT and finding.name == BODY_LIMIT:
        return Result.TOO_LARGE
    if finding.kind is FindingKind.FAILED and finding.name.startswith(ABSENT_PREFIX):
        return Result.ENGINE_ABSENT
    return _BY_KIND[finding.kind]


def report_result(report: ScanReport) -> Result:
    """What the content amounts to, before any rule has spoken."""
    verdict = report.verdict
    plain = _BY_VERDICT.get(verdict)
    if plain is not None:
        return plain
    found = [finding_result(finding) for finding in report.findings if finding.verdict is verdict]
    return min(found, key=_ORDER.__getitem__) if found else _UNEXPLAINED[verdict]


def result_of(report: ScanReport, decision: Decision) -> Result:
    """What the transaction came to. What a rule refused with nothing found in it is forbidden, not clean."""
    result = report_result(report)
    return Result.FORBIDDEN if decision.refuses and result in _NOTHING_AGAINST else result
