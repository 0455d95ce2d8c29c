"""A scanner's answer goes into one packet, whatever a body made its engines report."""

from __future__ import annotations

import mmap
import os
import tempfile

import pytest

from icapd.scan.merge import merge
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, Severity, Verdict
from icapd.scan.tree import Examination
from icapd.worker import scanner
from icapd.worker.frames import PACKET_BYTES_MAX, decode_answer
from icapd.worker.scanner import packet_of
from tests.support.engines import order
from tests.worker.scanners import ScannerBench

WIDE = "\N{GRINNING FACE}" * 300


def noise(
    count: int, kind: FindingKind = FindingKind.UNSUPPORTED, severity: Severity = Severity.LOW
) -> list[Finding]:
    return [Finding(kind, f"n{number}{WIDE}", "noisy", severity, (WIDE,) * 20) for number in range(count)]


def answer(*reports: EngineReport) -> Examination:
    packet = packet_of(7, Examination(reports=reports))
    assert len(packet) <= PACKET_BYTES_MAX
    got = decode_answer(packet)
    assert got.number == 7
    return got.examination


def test_a_crowd_of_findings_hides_neither_the_worst_nor_an_outcome() -> None:
    bad = Finding(FindingKind.MALWARE, "Bad", "rules", Severity.CRITICAL, ("a", "b.exe"))
    locked = Finding(FindingKind.ENCRYPTED, "encrypted:zip", "noisy", Severity.LOW, ("c",))
    got = answer(
        EngineReport("noisy", Outcome.UNSCANNABLE, (*noise(255), locked)),
        EngineReport("late", Outcome.TIMED_OUT, reason="late"),
        EngineReport("rules", Outcome.FOUND, (*noise(255, FindingKind.SUSPICIOUS, Severity.HIGH), bad)),
        EngineReport("quiet", Outcome.NOTHING_FOUND),
    )
    reports = {report.engine: report for report in got.reports}
    assert {name: report.outcome for name, report in reports.items()} == {
        "noisy": Outcome.UNSCANNABLE,
        "late": Outcome.TIMED_OUT,
        "rules": Outcome.FOUND,
        "quiet": Outcome.NOTHING_FOUND,
    }
    assert bad in reports["rules"].findings
    assert locked in reports["noisy"].findings
    assert len(reports["rules"].findings) + len(reports["noisy"].findings) > 50
    assert merge(got, frozenset()).verdict is Verdict.MALICIOUS


def test_an_allowed_body_stays_allowed_in_a_crowd() -> None:
    allowed = Finding(FindingKind.ALLOWED, "hash:sha256", "hashes", Severity.INFO, certain=True)
    got = answer(
        EngineReport("rules", Outcome.FOUND, tuple(noise(256, FindingKind.MALWARE, Severity.CRITICAL))),
        EngineReport("hashes", Outcome.FOUND, (allowed,)),
    )
    assert merge(got, frozenset()).verdict is Verdict.CLEAN


def test_long_names_are_cut_before_findings_are_dropped() -> None:
    findings = tuple(
        Finding(FindingKind.INFO, f"n{number}", "noisy", Severity.INFO, ("m" * 200,) * 16) for number in range(100)
    )
    (report,) = answer(EngineReport("noisy", Outcome.FOUND, findings)).reports
    assert [finding.name for finding in report.findings] == [finding.name for finding in findings]
    assert {finding.trail for finding in report.findings} == {("m" * 32,) * 16}


def test_what_fits_is_not_touched() -> None:
    findings = tuple(Finding(FindingKind.INFO, f"n{n}", "noisy", Severity.INFO, ("m" * 200,) * 16) for n in range(50))
    (report,) = answer(EngineReport("noisy", Outcome.FOUND, findings)).reports
    assert report.findings == findings


def test_a_verbose_engine_has_not_failed(bench: ScannerBench) -> None:
    [report] = bench.scan(order("verbose")).reports
    assert report.outcome is Outcome.FOUND
    assert report.findings[0].name.startswith("0-nnn")


@pytest.mark.parametrize("reads_past_end", [True, False])
@pytest.mark.parametrize("size_bytes", [mmap.PAGESIZE - 1, mmap.PAGESIZE, mmap.PAGESIZE + 1, 2 * mmap.PAGESIZE])
def test_a_body_that_fills_its_last_page_is_not_searched_in_its_map(
    size_bytes: int, reads_past_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "READS_PAST_END", reads_past_end)
    body = os.urandom(size_bytes)
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        data = scanner._mapped(file.fileno(), size_bytes)
    assert data[:] == body
    assert isinstance(data, mmap.mmap) is not (reads_past_end and size_bytes % mmap.PAGESIZE == 0)
