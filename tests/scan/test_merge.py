from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.scan.merge import merge, rank, verdict_of, with_findings
from icapd.scan.model import (
    EngineReport,
    Finding,
    FindingKind,
    Identity,
    Outcome,
    ScanReport,
    Severity,
    Verdict,
)
from icapd.scan.tree import Examination

K = FindingKind
S = Severity
V = Verdict


def finding(
    kind: FindingKind, severity: Severity = S.HIGH, trail: tuple[str, ...] = (), certain: bool = False
) -> Finding:
    return Finding(kind, f"some-{kind}", "engine", severity, trail, certain)


def merged(*reports: EngineReport, required: frozenset[str] = frozenset()) -> ScanReport:
    return merge(Examination(reports=reports), required)


def report(*findings: Finding, engine: str = "engine", outcome: Outcome | None = None) -> EngineReport:
    return EngineReport(engine, outcome or (Outcome.FOUND if findings else Outcome.NOTHING_FOUND), findings)


TABLE = [
    (K.MALWARE, V.CLEAN, V.SUSPICIOUS, V.MALICIOUS),
    (K.SUSPICIOUS, V.CLEAN, V.SUSPICIOUS, V.SUSPICIOUS),
    (K.TYPE_MISMATCH, V.CLEAN, V.SUSPICIOUS, V.SUSPICIOUS),
    (K.FORBIDDEN, V.CLEAN, V.FORBIDDEN, V.FORBIDDEN),
    (K.LIMIT, V.CLEAN, V.UNSCANNABLE, V.UNSCANNABLE),
    (K.ENCRYPTED, V.CLEAN, V.UNSCANNABLE, V.UNSCANNABLE),
    (K.CORRUPT, V.CLEAN, V.UNSCANNABLE, V.UNSCANNABLE),
    (K.UNSUPPORTED, V.CLEAN, V.UNSCANNABLE, V.UNSCANNABLE),
    (K.TIMEOUT, V.CLEAN, V.ERROR, V.ERROR),
    (K.FAILED, V.CLEAN, V.ERROR, V.ERROR),
    (K.OVERLOAD, V.CLEAN, V.ERROR, V.ERROR),
    (K.INFO, V.CLEAN, V.CLEAN, V.CLEAN),
    (K.ALLOWED, V.CLEAN, V.CLEAN, V.CLEAN),
]


def test_the_table_is_complete() -> None:
    assert {row[0] for row in TABLE} == set(K)


@pytest.mark.parametrize(("kind", "info", "low", "medium"), TABLE)
def test_what_a_finding_counts_for(kind: FindingKind, info: Verdict, low: Verdict, medium: Verdict) -> None:
    expected = {S.INFO: info, S.LOW: low, S.MEDIUM: medium, S.HIGH: medium, S.CRITICAL: medium}
    for severity, verdict in expected.items():
        got = merged(report(finding(kind, severity)))
        assert got.verdict is verdict
        assert got.findings == (finding(kind, severity),)


ORDER = [K.INFO, K.SUSPICIOUS, K.FORBIDDEN, K.LIMIT, K.FAILED, K.MALWARE]


@pytest.mark.parametrize(("lesser", "greater"), list(pairwise(ORDER)))
def test_the_worse_one_counts(lesser: FindingKind, greater: FindingKind) -> None:
    got = merged(report(finding(lesser)), report(finding(greater), engine="other"))
    assert got.verdict is verdict_of([finding(greater)])
    assert [f.kind for f in got.findings] == [greater, lesser]


def test_nothing_found_is_clean() -> None:
    assert merged(report()).verdict is V.CLEAN
    assert merged().verdict is V.CLEAN


def test_certain_forbidden_outranks_error_and_unscannable_but_not_malware() -> None:
    forbidden = finding(K.FORBIDDEN, certain=True)
    assert verdict_of([forbidden, finding(K.FAILED), finding(K.LIMIT)]) is V.FORBIDDEN
    assert verdict_of([forbidden, finding(K.MALWARE)]) is V.MALICIOUS
    assert verdict_of([finding(K.FORBIDDEN), finding(K.LIMIT)]) is V.UNSCANNABLE


def test_a_timeout_beside_a_hit_is_malicious() -> None:
    got = merged(report(finding(K.MALWARE), outcome=Outcome.TIMED_OUT), required=frozenset({"engine", "never-asked"}))
    assert got.verdict is V.MALICIOUS
    assert {f.name for f in got.findings} == {"some-malware", "timeout:engine", "absent:never-asked"}


def test_allowed_for_the_body_is_clean_and_records_everything() -> None:
    allowed = finding(K.ALLOWED, certain=True)
    got = merged(report(allowed, finding(K.MALWARE)), required=frozenset({"absent"}))
    assert got.verdict is V.CLEAN
    assert {f.kind for f in got.findings} == {K.ALLOWED, K.MALWARE, K.FAILED}


@pytest.mark.parametrize("allowed", [finding(K.ALLOWED), finding(K.ALLOWED, certain=True, trail=("x.doc",))])
def test_allowed_by_guess_or_for_a_member_changes_nothing(allowed: Finding) -> None:
    assert merged(report(allowed, finding(K.MALWARE))).verdict is V.MALICIOUS


@pytest.mark.parametrize(
    ("outcome", "kind", "name"),
    [(Outcome.FAILED, K.FAILED, "failed:engine"), (Outcome.TIMED_OUT, K.TIMEOUT, "timeout:engine")],
)
def test_a_failure_counts_when_the_engine_is_required(outcome: Outcome, kind: FindingKind, name: str) -> None:
    got = merged(report(outcome=outcome), required=frozenset({"engine"}))
    assert (got.verdict, got.findings[0].kind, got.findings[0].name) == (V.ERROR, kind, name)
    got = merged(report(outcome=outcome))
    assert (got.verdict, got.findings) == (V.CLEAN, (Finding(kind, name, "engine", S.INFO),))


def test_a_required_engine_without_a_report_is_an_error() -> None:
    assert merged(report(), required=frozenset({"engine"})).verdict is V.CLEAN
    got = merged(report(), required=frozenset({"engine", "yara"}))
    assert (got.verdict, got.findings[0].name) == (V.ERROR, "absent:yara")


def test_unscannable_without_a_reason_still_counts() -> None:
    got = merged(report(outcome=Outcome.UNSCANNABLE))
    assert (got.verdict, got.findings[0].name) == (V.UNSCANNABLE, "unscannable:engine")
    got = merged(report(finding(K.ENCRYPTED), outcome=Outcome.UNSCANNABLE))
    assert [f.kind for f in got.findings] == [K.ENCRYPTED]


def test_remote_reports_count_like_local_ones() -> None:
    remote = report(finding(K.MALWARE), engine="clamd")
    got = merge(Examination(reports=(report(),)), frozenset({"engine", "clamd"}), [remote])
    assert got.verdict is V.MALICIOUS
    assert [r.engine for r in got.reports] == ["clamd", "engine"]


def test_the_body_is_carried_over() -> None:
    examination = Examination(Identity("image/png", "image"), (), 12, 0.5)
    got = merge(examination, frozenset())
    assert (got.identity, got.size_bytes, got.elapsed_s) == (examination.identity, 12, 0.5)


def test_findings_of_a_message_raise_the_verdict_and_never_lower_it() -> None:
    mismatch = finding(K.TYPE_MISMATCH, S.MEDIUM)
    assert with_findings(merged(), [mismatch]).verdict is V.SUSPICIOUS
    assert with_findings(merged(report(finding(K.MALWARE))), [mismatch]).verdict is V.MALICIOUS
    assert with_findings(merged(), []) == merged()
    not_scanned = ScanReport(V.NOT_SCANNED)
    assert with_findings(not_scanned, [finding(K.INFO)]).verdict is V.NOT_SCANNED
    assert with_findings(not_scanned, [mismatch]).verdict is V.SUSPICIOUS


findings = st.builds(
    Finding,
    kind=st.sampled_from(K),
    name=st.sampled_from(["a", "b"]),
    engine=st.sampled_from(["x", "y"]),
    severity=st.sampled_from(S),
    trail=st.sampled_from([(), ("m",)]),
    certain=st.booleans(),
)
engine_reports = st.builds(
    EngineReport,
    engine=st.sampled_from(["x", "y", "z"]),
    outcome=st.sampled_from(Outcome),
    findings=st.lists(findings, max_size=3).map(tuple),
    elapsed_s=st.sampled_from([0.0, 1.0]),
    reason=st.sampled_from(["", "why"]),
)
requirements = st.frozensets(st.sampled_from(["x", "y", "z"]))


def weight(got: ScanReport) -> int:
    return max((rank(f) for f in got.findings), default=0)


def allows(reports: list[EngineReport]) -> bool:
    return any(f.kind is K.ALLOWED and f.certain and not f.trail for r in reports for f in r.findings)


@given(st.lists(engine_reports, max_size=4), requirements, st.randoms())
def test_the_order_of_reports_and_findings_does_not_matter(
    reports: list[EngineReport], required: frozenset[str], shuffler: random.Random
) -> None:
    shuffled = list(reports)
    shuffler.shuffle(shuffled)
    assert merged(*shuffled, required=required) == merged(*reports, required=required)


@given(st.lists(engine_reports, max_size=4), engine_reports, requirements)
def test_more_reports_never_weigh_less(
    reports: list[EngineReport], more: EngineReport, required: frozenset[str]
) -> None:
    less = merged(*reports, required=required - {more.engine})
    assert weight(merged(*reports, more, required=required)) >= weight(less)
    if not allows([*reports, more]) and less.verdict is not V.CLEAN:
        assert merged(*reports, more, required=required).verdict is not V.CLEAN


@given(st.lists(engine_reports, max_size=4), requirements)
def test_never_clean_when_a_required_engine_did_not_judge(
    reports: list[EngineReport], required: frozenset[str]
) -> None:
    judged = {r.engine for r in reports}
    failed = {r.engine for r in reports if r.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)}
    if (required - judged or required & failed) and not allows(reports):
        assert merged(*reports, required=required).verdict in (V.ERROR, V.MALICIOUS, V.FORBIDDEN)


@given(st.lists(findings))
def test_a_verdict_is_never_not_scanned(some: list[Finding]) -> None:
    assert verdict_of(some) is not V.NOT_SCANNED
