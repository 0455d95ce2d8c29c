"""The shipped policies against the table that describes them."""

from __future__ import annotations

import itertools

import pytest

from icapd.config.policies import SHIPPED_POLICIES, shipped_rules
from icapd.config.schema import Rule
from icapd.policy.decide import compile_policy
from icapd.policy.facts import Action, Facts
from icapd.policy.outcomes import Result, sample_report
from icapd.scan.merge import verdict_of
from icapd.scan.model import Finding, FindingKind, ScanReport, Severity, Verdict

ALLOW, BLOCK, MONITOR = Action.ALLOW, Action.BLOCK, Action.MONITOR

TABLE: list[tuple[Result, str, tuple[Action, Action, Action]]] = [
    (Result.CLEAN, "clean", (ALLOW, ALLOW, ALLOW)),
    (Result.NOT_SCANNED, "not-scanned", (ALLOW, ALLOW, ALLOW)),
    (Result.MALICIOUS, "malicious", (BLOCK, BLOCK, BLOCK)),
    (Result.FORBIDDEN, "forbidden", (BLOCK, BLOCK, BLOCK)),
    (Result.ENGINE_FAILED, "engine-failure", (BLOCK, BLOCK, MONITOR)),
    (Result.ENGINE_ABSENT, "engine-absent", (BLOCK, BLOCK, MONITOR)),
    (Result.TIMED_OUT, "timeout", (BLOCK, BLOCK, MONITOR)),
    (Result.OVERLOADED, "overload", (BLOCK, BLOCK, MONITOR)),
    (Result.TOO_LARGE, "too-large", (BLOCK, BLOCK, MONITOR)),
    (Result.LIMIT, "limit", (BLOCK, BLOCK, MONITOR)),
    (Result.UNSUPPORTED, "unsupported", (BLOCK, BLOCK, MONITOR)),
    (Result.ENCRYPTED, "encrypted", (BLOCK, MONITOR, MONITOR)),
    (Result.CORRUPT, "corrupt", (BLOCK, MONITOR, MONITOR)),
    (Result.SUSPICIOUS, "suspicious", (BLOCK, MONITOR, MONITOR)),
]


def report(verdict: Verdict, *kinds: FindingKind) -> ScanReport:
    return ScanReport(verdict, tuple(Finding(kind, "name", "engine") for kind in kinds))


def test_the_table_has_every_outcome_and_each_policy_a_rule_for_it() -> None:
    assert {result for result, _, _ in TABLE} == set(Result)
    for name in SHIPPED_POLICIES:
        assert {str(rule.when.outcome) for rule in shipped_rules(name)} >= {result.value for result in Result}


@pytest.mark.parametrize(("result", "rule", "actions"), TABLE)
def test_shipped_policies_answer_as_the_table_says(
    result: Result, rule: str, actions: tuple[Action, Action, Action]
) -> None:
    for name, action in zip(("strict", "balanced", "open"), actions, strict=True):
        made = compile_policy(name, [], shipped_rules(name))
        decision = made.decide(Facts(report=sample_report(result)))
        assert (decision.action, decision.rule) == (action, rule), name


@pytest.mark.parametrize("verdict", [Verdict.UNSCANNABLE, Verdict.ERROR])
def test_a_failure_without_a_finding_is_answered_as_strictly_as_the_strictest(verdict: Verdict) -> None:
    for name, action in (("strict", BLOCK), ("balanced", BLOCK), ("open", MONITOR)):
        assert compile_policy(name, [], shipped_rules(name)).decide(Facts(report=report(verdict))).action is action


@pytest.mark.parametrize("verdict", [Verdict.UNSCANNABLE, Verdict.ERROR])
@pytest.mark.parametrize("name", SHIPPED_POLICIES)
def test_a_forbidden_part_is_blocked_beside_whatever_else(name: str, verdict: Verdict) -> None:
    made = compile_policy(name, [], shipped_rules(name))
    found = report(verdict, FindingKind.ENCRYPTED, FindingKind.FAILED, FindingKind.FORBIDDEN)
    assert made.decide(Facts(report=found)).rule == "forbidden"


@pytest.mark.parametrize(("name", "action"), [("strict", BLOCK), ("balanced", MONITOR), ("open", MONITOR)])
@pytest.mark.parametrize(
    "kinds",
    [
        (FindingKind.ENCRYPTED, FindingKind.CORRUPT),
        (FindingKind.ENCRYPTED, FindingKind.SUSPICIOUS),
        (FindingKind.ENCRYPTED, FindingKind.CORRUPT, FindingKind.TYPE_MISMATCH),
    ],
)
def test_findings_that_a_policy_passes_one_by_one_pass_together(
    name: str, action: Action, kinds: tuple[FindingKind, ...]
) -> None:
    made = compile_policy(name, [], shipped_rules(name))
    assert made.decide(Facts(report=report(Verdict.UNSCANNABLE, *kinds))).action is action


@pytest.mark.parametrize("name", SHIPPED_POLICIES)
def test_shipped_policies_answer_several_findings_as_the_strictest_answer_to_one(name: str) -> None:
    made = compile_policy(name, [], shipped_rules(name))
    order = [ALLOW, MONITOR, BLOCK]
    kinds = [kind for kind in FindingKind if kind is not FindingKind.ALLOWED]

    def action(*both: FindingKind) -> int:
        findings = tuple(Finding(kind, "name", "engine") for kind in both)
        return order.index(made.decide(Facts(report=ScanReport(verdict_of(findings), findings))).action)

    for one, other in itertools.combinations_with_replacement(kinds, 2):
        assert action(one, other) == max(action(one), action(other)), (one, other)


def test_an_encrypted_bomb_is_a_bomb() -> None:
    made = compile_policy("balanced", [], shipped_rules("balanced"))
    found = report(Verdict.UNSCANNABLE, FindingKind.ENCRYPTED, FindingKind.CORRUPT, FindingKind.LIMIT)
    assert made.decide(Facts(report=found)).rule == "limit"


@pytest.mark.parametrize("name", SHIPPED_POLICIES)
def test_shipped_policies_say_why_and_decide_nothing_before_the_scan(name: str) -> None:
    rules = shipped_rules(name)
    assert all(rule.reason for rule in rules if rule.action == "block")
    assert rules[-1].when.model_dump(exclude_none=True) == {}
    assert compile_policy(name, [], rules).early(Facts(media_type="text/html", size_bytes=10**12)) is None


def test_custom_has_no_shipped_rules() -> None:
    assert shipped_rules("custom") == []


def test_a_note_on_what_was_not_opened_is_no_reason_to_block() -> None:
    """A ZIP with a bad checksum and a PDF inside is corrupt: the PDF's note must not make it unsupported."""
    note = Finding(FindingKind.UNSUPPORTED, "not-opened:pdf", "archive", Severity.INFO)
    corrupt = Finding(FindingKind.CORRUPT, "bad-checksum", "archive", Severity.MEDIUM)
    policy = compile_policy("balanced", [], shipped_rules("balanced"))
    decision = policy.decide(Facts(report=ScanReport(Verdict.UNSCANNABLE, (note, corrupt))))
    assert (decision.action, decision.rule) == (Action.MONITOR, "corrupt")

    by_name = Rule.model_validate({"name": "pdfs", "when": {"finding": "not-opened:*"}, "action": "block"})
    named = compile_policy("balanced", [by_name], shipped_rules("balanced"))
    assert named.decide(Facts(report=ScanReport(Verdict.CLEAN, (note,)))).rule == "pdfs"
