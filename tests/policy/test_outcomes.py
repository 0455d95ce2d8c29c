"""The closed list of results: each has its report, and each report and decision has one."""

from __future__ import annotations

from typing import Any

import pytest

from icapd.config.schema import Rule
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.outcomes import MEANING, Result, report_result, result_of, results_of, sample_report
from icapd.policy.rules import CompiledRule, Match, compile_rule
from icapd.scan.merge import merge, verdict_of
from icapd.scan.model import UNKNOWN_IDENTITY, Finding, FindingKind, ScanReport, Severity, Verdict
from icapd.scan.tree import Examination

ALLOW, BLOCK = Decision(Action.ALLOW, "r"), Decision(Action.BLOCK, "r")
ENCRYPTED = Finding(FindingKind.ENCRYPTED, "encrypted:zip", "archive", Severity.MEDIUM)
CORRUPT = Finding(FindingKind.CORRUPT, "bad-checksum", "archive", Severity.MEDIUM)
LIMIT = Finding(FindingKind.LIMIT, "archive.max_depth", "archive", Severity.MEDIUM)
MACRO = Finding(FindingKind.SUSPICIOUS, "macro", "office", Severity.LOW)
MALWARE = Finding(FindingKind.MALWARE, "Eicar", "yara")
NOTE = Finding(FindingKind.UNSUPPORTED, "not-opened:pdf", "archive", Severity.INFO)
LISTED = Finding(FindingKind.ALLOWED, "list", "hashes", certain=True)


def report(*findings: Finding) -> ScanReport:
    return ScanReport(verdict_of(findings), findings)


def compiled(action: str, outcome: str | list[str], **more: Any) -> CompiledRule:
    when = {"outcome": outcome, **more}
    return compile_rule(Rule.model_validate({"name": "r", "action": action, "when": when}), "policy[0]")


@pytest.mark.parametrize("result", Result)
def test_each_result_has_a_report_that_is_it_and_a_rule_of_its_own(result: Result) -> None:
    sample = sample_report(result)
    assert report_result(sample) is result
    assert sample.verdict is MEANING[result][0]
    for other in Result:
        for action in ("allow", "monitor", "block"):
            assert compiled(action, other.value).holds(Facts(), sample) is (other is result)


def test_every_verdict_has_its_results() -> None:
    assert {result for verdict in Verdict for result in results_of(verdict)} == set(Result)
    assert results_of(Verdict.CLEAN) == {Result.CLEAN}
    assert all(report_result(ScanReport(verdict)) in results_of(verdict) for verdict in Verdict)


def test_a_required_engine_that_gave_no_report_is_absent() -> None:
    made = merge(Examination(UNKNOWN_IDENTITY, (), 1, 0.0), {"yara"})
    assert report_result(made) is Result.ENGINE_ABSENT


@pytest.mark.parametrize(
    ("findings", "result"),
    [
        ((ENCRYPTED, CORRUPT), Result.ENCRYPTED),
        ((CORRUPT, ENCRYPTED, LIMIT), Result.LIMIT),
        ((ENCRYPTED, MACRO), Result.ENCRYPTED),
        ((CORRUPT, NOTE), Result.CORRUPT),
        ((NOTE,), Result.CLEAN),
        ((MALWARE, LISTED), Result.CLEAN),
        ((MALWARE, ENCRYPTED), Result.MALICIOUS),
    ],
)
def test_several_findings_make_one_result_in_any_order(findings: tuple[Finding, ...], result: Result) -> None:
    assert report_result(report(*findings)) is result
    assert report_result(report(*findings[::-1])) is result


def test_what_a_rule_refuses_with_nothing_found_is_forbidden_by_policy() -> None:
    for verdict in (Verdict.CLEAN, Verdict.NOT_SCANNED):
        assert result_of(ScanReport(verdict), BLOCK) is Result.FORBIDDEN
        assert result_of(ScanReport(verdict), ALLOW) is report_result(ScanReport(verdict))
    assert result_of(report(ENCRYPTED), BLOCK) is Result.ENCRYPTED


@pytest.mark.parametrize(
    ("action", "outcome", "findings", "holds"),
    [
        ("block", "suspicious", (MACRO, ENCRYPTED), True),
        ("monitor", "suspicious", (MACRO, ENCRYPTED), False),
        ("monitor", "encrypted", (MACRO, ENCRYPTED), True),
        ("monitor", "encrypted", (CORRUPT, ENCRYPTED), False),
        ("monitor", ["encrypted", "corrupt"], (CORRUPT, ENCRYPTED), True),
        ("monitor", "encrypted", (NOTE, ENCRYPTED), True),
        ("block", "corrupt", (CORRUPT, ENCRYPTED), True),
        ("block", "malicious", (MALWARE, LISTED), False),
        ("block", "clean", (NOTE,), True),
        ("block", "clean", (NOTE, ENCRYPTED), False),
        ("allow", "clean", (MALWARE, LISTED), True),
    ],
)
def test_a_block_rule_sees_what_is_outranked_and_a_permissive_one_names_all(
    action: str, outcome: str | list[str], findings: tuple[Finding, ...], holds: bool
) -> None:
    for ordered in (findings, findings[::-1]):
        assert compiled(action, outcome).holds(Facts(), report(*ordered)) is holds


def test_an_outcome_is_not_known_before_the_scan() -> None:
    assert compiled("block", "Clean").early(Facts()) is Match.NOT_YET_KNOWN
    assert compiled("block", "clean", method="REQMOD").early(Facts(method="RESPMOD")) is Match.NO
