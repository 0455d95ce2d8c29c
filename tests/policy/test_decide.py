"""Policies as wholes: order, coverage, early answers, digest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.config.schema import Rule
from icapd.errors import ConfigurationError
from icapd.policy.decide import UNCOVERED, Policy, compile_policy
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.outcomes import MEANING, Result
from icapd.scan.model import UNKNOWN_IDENTITY, Finding, FindingKind, Identity, ScanReport, Verdict
from tests.policy.test_index import EXAMPLES


def rule(name: str, action: str, **when: Any) -> Rule:
    return Rule.model_validate({"name": name, "action": action, "when": when})


OTHERWISE = rule("otherwise", "block")


def policy(*rules: Rule) -> Policy:
    return compile_policy("custom", rules)


def test_the_first_rule_that_holds_decides() -> None:
    made = policy(rule("a", "monitor", host="example.org"), rule("b", "allow", verdict="CLEAN"), OTHERWISE)
    clean = ScanReport(Verdict.CLEAN)
    assert made.decide(Facts(host="example.org", report=clean)).rule == "a"
    assert made.decide(Facts(host="example.com", report=clean)).rule == "b"
    assert made.decide(Facts(report=ScanReport(Verdict.SUSPICIOUS))).rule == "otherwise"


def test_a_decision_carries_what_the_page_needs() -> None:
    own = Rule(name="exe", action="block", reason="No programs.", page="pages/exe.html")
    assert policy(own).decide(Facts()) == Decision(Action.BLOCK, "exe", "No programs.", "pages/exe.html")


def test_own_rules_come_before_the_shipped_ones() -> None:
    made = compile_policy("balanced", [rule("mine", "allow", user="root")], [OTHERWISE])
    assert made.decide(Facts(user="root")).rule == "mine"
    assert made.decide(Facts(user="other")).rule == "otherwise"


def test_early_passes_what_cannot_hold_and_stops_at_what_is_not_known() -> None:
    made = policy(
        rule("a", "block", host=".evil.test"),
        rule("b", "allow", service="/echo"),
        rule("c", "block", verdict="MALICIOUS"),
        rule("d", "allow", user="root"),
        OTHERWISE,
    )
    assert made.early(Facts(host="x.evil.test", service="/echo")) == Decision(Action.BLOCK, "a")
    assert made.early(Facts(service="/echo")) == Decision(Action.ALLOW, "b")
    assert made.early(Facts(service="/scan", user="root")) is None


def test_early_blocks_by_a_declared_type_but_never_allows_by_one() -> None:
    blocked = policy(rule("exe", "block", media_type="application/x-msdownload"), OTHERWISE)
    allowed = policy(rule("img", "allow", media_type="image/*"), OTHERWISE)
    assert blocked.early(Facts(media_type="application/x-msdownload")) == Decision(Action.BLOCK, "exe")
    assert allowed.early(Facts(media_type="image/png")) is None


def test_a_body_without_a_report_is_not_scanned_and_never_clean() -> None:
    made = policy(
        rule("clean", "allow", verdict="CLEAN"), rule("not-scanned", "monitor", verdict="not_scanned"), OTHERWISE
    )
    assert made.decide(Facts()).rule == "not-scanned"


def by_outcome(result: Result) -> Rule:
    return rule(result.value, "allow", outcome=result.value)


@pytest.mark.parametrize("missing", Result)
def test_an_outcome_left_open_is_named(missing: Result) -> None:
    with pytest.raises(ConfigurationError) as refused:
        policy(*(by_outcome(result) for result in Result if result is not missing))
    (problem,) = refused.value.problems
    assert problem.where == "policy"
    assert f"the outcome {missing} " in problem.what


def test_verdicts_and_kinds_name_outcomes_too() -> None:
    pairs = dict.fromkeys(MEANING.values())
    rules = [
        rule(f"{verdict}-{kind}", "allow", verdict=verdict.value, **({"finding": kind.value} if kind else {}))
        for verdict, kind in pairs
    ]
    assert policy(*rules).decide(Facts()).rule == "NOT_SCANNED-None"


@pytest.mark.parametrize(
    "condition", [{"user": "*"}, {"size_over_bytes": 1}, {"media_type": "*"}, {"finding": "macro"}]
)
def test_a_further_condition_does_not_cover_an_outcome(condition: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        policy(rule("some", "block", **condition))
    assert len(refused.value.problems) == len(Result)


def test_enumerated_outcomes_cover_and_the_unnamed_rest_is_blocked() -> None:
    made = policy(*map(by_outcome, Result))
    assert made.decide(Facts(report=ScanReport(Verdict.UNSCANNABLE))).rule == "unsupported"
    assert made.decide(Facts(report=ScanReport(Verdict.ERROR))).rule == "engine-failed"
    both = (Finding(FindingKind.ENCRYPTED, "a", "archive"), Finding(FindingKind.LIMIT, "b", "archive"))
    assert made.decide(Facts(report=ScanReport(Verdict.UNSCANNABLE, both))) is UNCOVERED
    assert UNCOVERED.action is Action.BLOCK


def test_a_decoy_does_not_lead_past_a_block_rule() -> None:
    """An encrypted member makes UNSCANNABLE of what would be SUSPICIOUS."""
    made = policy(
        rule("suspicious", "block", verdict="SUSPICIOUS"), rule("rest", "monitor", verdict="UNSCANNABLE"), OTHERWISE
    )
    macro = Finding(FindingKind.SUSPICIOUS, "macro", "office")
    decoy = Finding(FindingKind.ENCRYPTED, "encrypted:zip", "archive")
    assert made.decide(Facts(report=ScanReport(Verdict.UNSCANNABLE, (decoy, macro)))).rule == "suspicious"
    assert made.decide(Facts(report=ScanReport(Verdict.UNSCANNABLE, (decoy,)))).rule == "rest"


def test_problems_of_all_rules_are_collected_with_their_places() -> None:
    own = [rule("a", "block", verdict="x"), rule("b", "block", host="/"), rule("b", "block", user="x")]
    with pytest.raises(ConfigurationError) as refused:
        compile_policy("strict", own, [rule("a", "block", method="x")])
    assert [problem.where for problem in refused.value.problems] == [
        "policy[0].when.verdict",
        "policy[1].when.host",
        "strict.toml: policy[0].when.method",
        "policy[0].name",
        "policy[2].name",
    ]
    assert "the shipped policy strict" in refused.value.problems[3].what
    assert "policy[1] already" in refused.value.problems[4].what


def test_the_digest_follows_the_rules_and_their_order() -> None:
    a, b = rule("a", "block", user="x"), rule("b", "block", user="y")
    base = policy(a, b, OTHERWISE).digest
    assert policy(a, b, OTHERWISE).digest == base
    assert compile_policy("other-name", [a], [b, OTHERWISE]).digest == base
    assert policy(b, a, OTHERWISE).digest != base
    assert policy(a, rule("b", "monitor", user="y"), OTHERWISE).digest != base
    assert len(base) == 32


HOSTS = st.sampled_from(["example.org", "www.example.org", "evil.test"])
TYPES = st.sampled_from(["image/png", "text/html"])
SIZES = st.integers(0, 4)
CONTENT: dict[str, st.SearchStrategy[Any]] = {
    "media_type": st.just("image/*"),
    "size_over_bytes": st.just(1),
    "size_under_bytes": st.just(4),
}
FIXED: dict[str, st.SearchStrategy[Any]] = {
    "host": st.sampled_from([".example.org", "evil.test"]),
    "method": st.just("REQMOD"),
}
JUDGED: dict[str, st.SearchStrategy[Any]] = {
    "verdict": st.lists(st.sampled_from([verdict.value for verdict in Verdict]), min_size=1, max_size=3),
    "finding": st.sampled_from(["limit", "encrypted", "mal*", "n1"]),
}
# By kind, so that rules an early answer can come from are as common as those that wait for the report.
WHENS = st.one_of(
    *(
        st.fixed_dictionaries({}, optional=keys)
        for keys in (CONTENT, FIXED, CONTENT | FIXED, CONTENT | FIXED | JUDGED)
    )
)
RULES = st.lists(st.tuples(st.sampled_from(["allow", "block", "monitor"]), WHENS), max_size=5)
FINDINGS = st.builds(Finding, st.sampled_from(FindingKind), st.sampled_from(["n1", "n2"]), st.just("engine"))
IDENTITIES = st.one_of(st.just(UNKNOWN_IDENTITY), st.builds(Identity, TYPES, st.just("data")))
REPORTS = st.builds(
    ScanReport,
    st.sampled_from(Verdict),
    st.lists(FINDINGS, max_size=3).map(tuple),
    IDENTITIES,
    size_bytes=SIZES,
)
FACTS = st.builds(
    Facts,
    method=st.sampled_from(["REQMOD", "RESPMOD"]),
    host=st.none() | HOSTS,
    media_type=st.none() | TYPES,
    size_bytes=st.none() | SIZES,
    media_types=st.lists(TYPES, max_size=2).map(tuple),
)


def drawn_policy(rules: list[tuple[str, dict[str, Any]]]) -> Policy:
    return policy(*(rule(f"r{index}", action, **when) for index, (action, when) in enumerate(rules)), OTHERWISE)


@given(RULES, FACTS, REPORTS)
def test_decide_answers_every_report_like_the_plain_walk(
    rules: list[tuple[str, dict[str, Any]]], facts: Facts, report: ScanReport
) -> None:
    made = drawn_policy(rules)
    facts.report = report
    expected = next(compiled.decision for compiled in made.rules if compiled.holds(facts, report))
    assert made.decide(facts) == expected


@EXAMPLES
@given(RULES, FACTS, REPORTS)
def test_early_never_contradicts_decide(
    rules: list[tuple[str, dict[str, Any]]], facts: Facts, report: ScanReport
) -> None:
    made = drawn_policy(rules)
    early = made.early(facts)
    facts.report = report
    assert early is None or early == made.decide(facts)
