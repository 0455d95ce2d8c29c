"""Keys and reports that the cache's tests share."""

from __future__ import annotations

import hashlib

from icapd.scan.model import (
    CacheKey,
    EngineReport,
    Finding,
    FindingKind,
    Identity,
    Outcome,
    ScanReport,
    Severity,
    Verdict,
)

SECRET = bytes(range(32))
ENGINES = ("identify", "yara", "hashes", "archive")


def cache_key(name: str = "body", *, size_bytes: int = 14_000, ruleset: str = "r1", coding: str = "") -> CacheKey:
    return CacheKey(hashlib.sha256(name.encode()).digest(), size_bytes, ruleset, coding)


def clean_report(size_bytes: int = 14_000) -> ScanReport:
    return ScanReport(
        Verdict.CLEAN,
        (),
        Identity("application/zip", "archive", "Zip archive data"),
        tuple(EngineReport(name, Outcome.NOTHING_FOUND, (), 0.001) for name in ENGINES),
        size_bytes,
        0.004,
    )


def malicious_report() -> ScanReport:
    finding = Finding(
        FindingKind.MALWARE, "Test.Signature", "yara", Severity.CRITICAL, ("a.zip", "b.exe"), certain=True
    )
    return ScanReport(
        Verdict.MALICIOUS,
        (finding,),
        Identity("application/zip", "archive"),
        (EngineReport("yara", Outcome.FOUND, (finding,), 0.002),),
        99,
        0.003,
    )


def report_with(verdict: Verdict, outcome: Outcome = Outcome.NOTHING_FOUND) -> ScanReport:
    return ScanReport(verdict, reports=(EngineReport("yara", outcome),))


def report_failing_with(kind: FindingKind) -> ScanReport:
    """A verdict that stands although something failed beside it."""
    return ScanReport(Verdict.MALICIOUS, findings=(Finding(kind, "yara", "yara"),))
