"""Makes one verdict of what all engines said. Pure: the same reports in any order give the same report.

What a finding counts for (`Finding.verdict`):

| kind                                  | INFO     | LOW         | MEDIUM and up |
|---------------------------------------|----------|-------------|---------------|
| malware                               | recorded | SUSPICIOUS  | MALICIOUS     |
| suspicious, type-mismatch             | recorded | SUSPICIOUS  | SUSPICIOUS    |
| forbidden                             | recorded | FORBIDDEN   | FORBIDDEN     |
| limit, encrypted, corrupt, unsupported| recorded | UNSCANNABLE | UNSCANNABLE   |
| timeout, failed, overload             | recorded | ERROR       | ERROR         |
| info, allowed                         | recorded | recorded    | recorded      |

The worst counts: MALICIOUS > FORBIDDEN by a certain finding > ERROR > UNSCANNABLE > FORBIDDEN > SUSPICIOUS > CLEAN.
One thing stands above: a certain `allowed` on the body itself makes it CLEAN, with all findings kept, because the
operator named exactly these bytes.

An engine that failed, ran out of time or is absent becomes a finding: of severity HIGH when it is required, INFO when
not. So a verdict follows from findings alone, and policy can name every reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from icapd.scan.model import (
    ABSENT_PREFIX,
    UNSCANNABLE_KINDS,
    EngineReport,
    Finding,
    FindingKind,
    Outcome,
    ScanReport,
    Severity,
    Verdict,
)

if TYPE_CHECKING:
    from icapd.scan.tree import Examination  # which reads the clock; this module must not

_RANK: Final = {
    Verdict.CLEAN: 0,
    Verdict.SUSPICIOUS: 1,
    Verdict.FORBIDDEN: 2,
    Verdict.UNSCANNABLE: 3,
    Verdict.ERROR: 4,
    Verdict.MALICIOUS: 6,
}
_CERTAINLY_FORBIDDEN: Final = 5
_engine: Final = attrgetter("engine")


def merge(examination: Examination, required: Collection[str], remote: Iterable[EngineReport] = ()) -> ScanReport:
    """The facts about one body from the reports of all its engines.

    Args: `required` names the engines without which the body is not judged; `remote` are the reports of engines that
    do not run in a scanner.
    """
    reports = (*examination.reports, *remote)
    present = {report.engine for report in reports}
    if len(present) == len(reports) and present.issuperset(required) and all(map(_is_quiet, reports)):
        reports = tuple(sorted(reports, key=_engine))  # most bodies: nothing to weigh
        return ScanReport(
            Verdict.CLEAN, (), examination.identity, reports, examination.size_bytes, examination.elapsed_s
        )
    reports = tuple(sorted(reports, key=_report_order))
    findings = {finding for report in reports for finding in _findings_of(report, report.engine in required)}
    findings.update(
        Finding(FindingKind.FAILED, ABSENT_PREFIX + name, name) for name in required if name not in present
    )
    worst_first = _worst_first(findings)
    return ScanReport(
        verdict_of(worst_first),
        worst_first,
        examination.identity,
        reports,
        examination.size_bytes,
        examination.elapsed_s,
    )


def is_settled(examination: Examination) -> bool:
    """Whether no further engine can change the verdict: malware was found, or the body is on the operator's list."""
    findings = [finding for report in examination.reports for finding in report.findings]
    return any(_allows_the_body(finding) or finding.verdict is Verdict.MALICIOUS for finding in findings)


def with_findings(report: ScanReport, findings: Iterable[Finding]) -> ScanReport:
    """A report with facts of one message beside those of its content. Never cached: the content's report is."""
    worst_first = _worst_first({*report.findings, *findings})
    verdict = verdict_of(worst_first)
    if verdict is Verdict.CLEAN and report.verdict is Verdict.NOT_SCANNED:
        verdict = Verdict.NOT_SCANNED
    return msgspec.structs.replace(report, verdict=verdict, findings=worst_first)


def with_listed(report: ScanReport, findings: Collection[Finding]) -> ScanReport:
    """A report with what lists say of the URL beside it. Bytes that are allowed are not so from everywhere."""
    merged = with_findings(report, findings)
    if merged.verdict is not Verdict.CLEAN:
        return merged
    return msgspec.structs.replace(merged, verdict=verdict_of(findings))


def verdict_of(findings: Collection[Finding]) -> Verdict:
    """The verdict that findings add up to."""
    if any(_allows_the_body(finding) for finding in findings):
        return Verdict.CLEAN
    return max(findings, key=rank).verdict if findings else Verdict.CLEAN


def rank(finding: Finding) -> int:
    """How much a finding weighs for the verdict; 0 = recorded only."""
    verdict = finding.verdict
    if verdict is Verdict.FORBIDDEN and finding.certain:
        return _CERTAINLY_FORBIDDEN
    return _RANK[verdict]


def _allows_the_body(finding: Finding) -> bool:
    return finding.kind is FindingKind.ALLOWED and finding.certain and not finding.trail


def _is_quiet(report: EngineReport) -> bool:
    return not report.findings and (report.outcome is Outcome.NOTHING_FOUND or report.outcome is Outcome.SKIPPED)


def _findings_of(report: EngineReport, is_required: bool) -> Iterable[Finding]:
    """The findings of a report, and the one that its outcome amounts to."""
    yield from report.findings
    severity = Severity.HIGH if is_required else Severity.INFO
    match report.outcome:
        case Outcome.FAILED:
            yield Finding(FindingKind.FAILED, f"failed:{report.engine}", report.engine, severity)
        case Outcome.TIMED_OUT:
            yield Finding(FindingKind.TIMEOUT, f"timeout:{report.engine}", report.engine, severity)
        case Outcome.UNSCANNABLE:
            if not any(f.kind in UNSCANNABLE_KINDS and f.severity > Severity.INFO for f in report.findings):
                yield Finding(FindingKind.UNSUPPORTED, f"unscannable:{report.engine}", report.engine, Severity.MEDIUM)
        case Outcome.NOTHING_FOUND | Outcome.FOUND | Outcome.SKIPPED:
            return
        case _:
            assert_never(report.outcome)


def _worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(
        sorted(
            findings,
            key=lambda f: (-rank(f), -f.severity, f.kind, f.name, f.engine, f.trail, not f.certain, f.sample),
        )
    )


def _report_order(report: EngineReport) -> tuple[str, str, str, tuple[str, ...], float]:
    names = tuple(
        f"{f.kind} {f.name} {f.engine} {f.trail} {f.severity:d} {f.certain} {f.sample}" for f in report.findings
    )
    return report.engine, report.outcome, report.reason, names, report.elapsed_s
