"""The shipped policies against the table that describes them."""

from __future__ import annotations

import itertools

import pytest

from icapd.config.policies import SHIPPED_POLICIES, shipped_rules
from icapd.config.schema import Rule
from icapd.policy.decide import OUTCOMES, compile_policy
from icapd.policy.facts import Action, Facts
from icapd.scan.merge import verdict_of
from icapd.scan.model import Finding, FindingKind, ScanReport, Severity, Verdict

ALLOW, BLOCK, MONITOR = Action.ALLOW, Action.BLOCK, Action.MONITOR

TABLE: list[tuple[Verdict, FindingKind | None, str, tuple[Action, Action, Action]]] = [
    (Verdict.CLEAN, None, "clean", (ALLOW, ALLOW, ALLOW)),
    (Verdict.NOT_SCANNED, None, "not-scanned", (ALLOW, ALLOW, ALLOW)),
    (Verdict.MALICIOUS, FindingKind.MALWARE, "malicious", (BLOCK, BLOCK, BLOCK)),
    (Verdict.FORBIDDEN, FindingKind.FORBIDDEN, "forbidden", (BLOCK, BLOCK, BLOCK)),
    (Verdict.ERROR, FindingKind.FAILED, "engine-failure", (BLOCK, BLOCK, MONITOR)),
    (Verdict.ERROR, FindingKind.TIMEOUT, "timeout", (BLOCK, BLOCK, MONITOR)),
    (Verdict.ERROR, FindingKind.OVERLOAD, "overload", (BLOCK, BLOCK, MONITOR)),
    (Verdict.ERROR, None, "engine-failure", (BLOCK, BLOCK, MONITOR)),
    (Verdict.UNSCANNABLE, FindingKind.LIMIT, "limit", (BLOCK, BLOCK, MONITOR)),
    (Verdict.UNSCANNABLE, FindingKind.UNSUPPORTED, "unsupported", (BLOCK, BLOCK, MONITOR)),
    (Verdict.UNSCANNABLE, FindingKind.ENCRYPTED, "encrypted", (BLOCK, MONITOR, MONITOR)),
    (Verdict.UNSCANNABLE, FindingKind.CORRUPT, "corrupt", (BLOCK, MONITOR, MONITOR)),
    (Verdict.UNSCANNABLE, None, "otherwise", (BLOCK, BLOCK, MONITOR)),
    (Verdict.SUSPICIOUS, FindingKind.SUSPICIOUS, "suspicious", (BLOCK, MONITOR, MONITOR)),
    (Verdict.SUSPICIOUS, FindingKind.TYPE_MISMATCH, "suspicious", (BLOCK, MONITOR, MONITOR)),
]


def report(verdict: Verdict, *kinds: FindingKind) -> ScanReport:
    return ScanReport(verdict, tuple(Finding(kind, "name", "engine") for kind in kinds))


def test_the_table_has_every_outcome() -> None:
    named = {(verdict, kind) for verdict, kind, _, _ in TABLE}
    assert named >= {(verdict, kind) for verdict, kind in OUTCOMES if kind}
    assert {verdict for verdict, _ in named} == set(Verdict)


@pytest.mark.parametrize(("verdict", "kind", "rule", "actions"), TABLE)
def test_shipped_policies_answer_as_the_table_says(
    verdict: Verdict, kind: FindingKind | None, rule: str, actions: tuple[Action, Action, Action]
) -> None:
    kinds = [kind] if kind else []
    for name, action in zip(("strict", "balanced", "open"), actions, strict=True):
        made = compile_policy(name, [], shipped_rules(name))
        decision = made.decide(Facts(report=report(verdict, *kinds)))
        assert (decision.action, decision.rule) == (action, rule), name


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
