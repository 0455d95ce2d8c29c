"""What is known of a URL before its body: when it decides at once, and when it must wait."""

from __future__ import annotations

from typing import Any

import pytest

from icapd.config.schema import Rule
from icapd.policy.decide import Policy, compile_policy
from icapd.policy.facts import Facts
from icapd.scan.merge import with_findings, with_listed
from icapd.scan.model import Finding, FindingKind, ScanReport, Severity, Verdict

BAD = Finding(FindingKind.FORBIDDEN, "bad", "urls", certain=True)
NOTE = Finding(FindingKind.INFO, "note", "urls", Severity.INFO)
LAST = {"name": "otherwise", "action": "allow"}
NOTHING = ScanReport(Verdict.NOT_SCANNED)


def policy(*rules: dict[str, Any]) -> Policy:
    own = [Rule.model_validate({"name": f"r{place}", **rule}) for place, rule in enumerate(rules)]
    return compile_policy("test", [*own, Rule.model_validate(LAST)])


def early(made: Policy, finding: Finding, **facts: Any) -> str | None:
    decision = made.early(Facts(**facts), with_listed(NOTHING, [finding]))
    return None if decision is None else decision.rule


def rule(action: str, **when: Any) -> dict[str, Any]:
    return {"when": when, "action": action}


def test_what_is_forbidden_is_blocked_before_its_body() -> None:
    made = policy(
        rule("block", outcome="malicious"), rule("block", outcome="forbidden"), rule("allow", outcome="clean")
    )
    assert early(made, BAD) == "r1"
    assert made.early(Facts()) is None
    assert early(made, NOTE) is None


@pytest.mark.parametrize(
    "before",
    [
        rule("allow", outcome="encrypted"),
        rule("allow", verdict="UNSCANNABLE", finding="encrypted"),
        rule("monitor", finding="bad"),
        rule("allow", finding="bad", size_under_bytes=10),
    ],
)
def test_a_rule_before_it_that_may_let_pass_is_waited_for(before: dict[str, Any]) -> None:
    assert early(policy(before, rule("block", outcome="forbidden")), BAD) is None


@pytest.mark.parametrize(
    "before",
    [
        rule("allow", finding="encrypted"),
        rule("allow", finding="bad", method="REQMOD"),
        rule("monitor", severity="low"),
        rule("redirect", finding="other") | {"location": "https://x.example/"},
    ],
)
def test_a_rule_before_it_that_cannot_let_pass_is_not(before: dict[str, Any]) -> None:
    made = policy(before, rule("block", outcome="forbidden"))
    assert early(made, BAD, method="RESPMOD") == "r1"


def test_a_rule_that_lets_pass_does_not_overtake_one_that_may_refuse() -> None:
    made = policy(rule("block", outcome="malicious"), rule("allow", host="x.example"))
    assert early(made, NOTE, host="x.example") is None
    assert early(policy(rule("allow", host="x.example")), BAD, host="x.example") == "r0"


def test_a_note_is_for_rules_that_name_it() -> None:
    assert early(policy(rule("block", finding="note")), NOTE) == "r0"
    assert early(policy(rule("block", finding="note", verdict="NOT_SCANNED")), NOTE) is None
    assert early(policy(rule("block", finding="note", outcome="not-scanned")), NOTE) is None


def test_content_that_is_not_there_yet_is_waited_for() -> None:
    made = policy(rule("block", finding="bad", size_under_bytes=10))
    assert early(made, BAD, size_bytes=5) == "r0"
    assert early(policy(rule("block", finding="note", size_under_bytes=10)), NOTE) is None


def test_bytes_that_are_allowed_are_not_allowed_from_everywhere() -> None:
    allowed = Finding(FindingKind.ALLOWED, "hash:sha256", "hashes", Severity.INFO, certain=True)
    malware = Finding(FindingKind.MALWARE, "eicar", "yara")
    report = with_findings(ScanReport(Verdict.CLEAN), [allowed, malware])
    assert report.verdict is Verdict.CLEAN
    assert with_listed(report, [BAD]).verdict is Verdict.FORBIDDEN
    assert with_listed(report, [NOTE]).verdict is Verdict.CLEAN
    assert with_listed(NOTHING, [NOTE]).verdict is Verdict.NOT_SCANNED
    assert with_listed(NOTHING, [BAD]).verdict is Verdict.FORBIDDEN
