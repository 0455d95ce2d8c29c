"""Rules that can never decide are found, and no rule that can is called one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from icapd.config.policies import SHIPPED_POLICIES, shipped_rules
from icapd.config.schema import Rule
from icapd.policy.decide import compile_policy
from icapd.policy.facts import Facts
from icapd.policy.reach import unreachable
from icapd.policy.rules import CompiledRule, compile_rule
from icapd.scan.model import ScanReport
from tests.policy.test_index import EXAMPLES, FACTS, REPORTS, RULES, made_of

Given = tuple[str, dict[str, Any]]


def compiled(*rules: Given) -> list[CompiledRule]:
    made = []
    for place, (action, when) in enumerate(rules):
        table: dict[str, Any] = {"name": f"r{place}", "action": action, "when": when}
        if action == "redirect":
            table["location"] = "https://portal.example/"
        made.append(compile_rule(Rule.model_validate(table), f"policy[{place}]"))
    return made


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("allow", {}), ("block", {"host": "a"})),
        (("block", {"host": ".example.org"}), ("allow", {"host": ["www.example.org", "example.org"]})),
        (("block", {"host": ".example.org"}), ("allow", {"host": ".www.example.org"})),
        (("block", {"host": "*.org"}), ("block", {"host": "a?.org", "user": "x"})),
        (("block", {"host": ["b", ".org", "*.net"]}), ("block", {"host": ["*.x.org", "b", "org", "a.net"]})),
        (("allow", {"client": "10.0.0.0/8"}), ("allow", {"client": ["10.1.0.0/16", "10.2.3.4"]})),
        (("block", {"time": "08:00-18:00"}), ("allow", {"time": "09:00-10:00", "weekday": "mon"})),
        (("block", {"size_over_bytes": 10}), ("block", {"size_over_bytes": 20, "size_under_bytes": 30})),
        (("monitor", {"outcome": ["encrypted", "corrupt"]}), ("allow", {"outcome": "Corrupt"})),
        (("block", {"verdict": "SUSPICIOUS"}), ("block", {"verdict": "SUSPICIOUS", "outcome": "encrypted"})),
        (("block", {"finding": "macro*"}), ("monitor", {"finding": "macro-a", "engine": "office"})),
        (("block", {"media_type": "image/*"}), ("allow", {"media_type": "image/png"})),
        (("redirect", {"user": "guest*"}), ("redirect", {"user": "guest7", "method": "REQMOD"})),
    ],
)
def test_a_rule_behind_one_that_always_holds_first_is_found(first: Given, second: Given) -> None:
    [(rule, why)] = unreachable(compiled(first, second))
    assert rule.where == "policy[1]"
    assert why == "policy[0] (r0) always holds before it"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("allow", {"host": "a"}), ("block", {})),
        (("allow", {"host": "a?"}), ("block", {"host": "a*"})),
        (("allow", {"media_type": "image/*"}), ("block", {"media_type": "image/png"})),
        (("allow", {"client": "10.0.0.0/8"}), ("block", {"client": "10.1.0.0/16"})),
        (("monitor", {"outcome": "encrypted"}), ("block", {"outcome": "encrypted"})),
        (("monitor", {"finding": "a*"}), ("monitor", {"finding": "a", "verdict": "UNSCANNABLE"})),
        (("block", {"time": "22:00-06:00", "weekday": "mon"}), ("block", {"time": "01:00-02:00", "weekday": "mon"})),
        (("block", {"size_over_bytes": 10}), ("block", {"size_over_bytes": 9})),
        (("redirect", {"user": "a"}), ("block", {"user": "a"})),
        (("block", {"user": ".a"}), ("block", {"user": "x.a"})),
        (("block", {"host": ["*.a", "b"]}), ("block", {"host": ["x.a", "c"]})),
    ],
)
def test_a_rule_that_may_still_decide_is_not(first: Given, second: Given) -> None:
    assert list(unreachable(compiled(first, second))) == []


def test_long_lists_are_compared_at_once() -> None:
    """Every name with every other, each made anew for that, would take a minute."""
    first, second = ([f"*{number:04d}{end}*" for number in range(500)] for end in ("", "x"))
    [(rule, _)] = unreachable(compiled(("block", {"url": first}), ("block", {"url": second})))
    assert rule.where == "policy[1]"


def test_a_rule_whose_conditions_exclude_each_other_is_found() -> None:
    rules = compiled(
        ("monitor", {"verdict": "CLEAN", "outcome": "encrypted"}),
        ("block", {"verdict": "CLEAN", "outcome": "clean"}),
        ("block", {"verdict": "CLEAN", "outcome": "malicious"}),
        ("block", {"verdict": "SUSPICIOUS", "outcome": "malicious"}),
    )
    found = {rule.where: why for rule, why in unreachable(rules)}
    assert found == {
        "policy[0]": "no outcome of encrypted has the verdict CLEAN",
        "policy[2]": "no outcome of malicious has the verdict CLEAN",
    }


def test_a_rule_for_what_is_answered_already_is_found() -> None:
    rules = compiled(
        ("allow", {"outcome": "clean"}), ("block", {"verdict": "SUSPICIOUS"}), ("monitor", {"verdict": ["CLEAN"]})
    )
    [(rule, why)] = unreachable(rules)
    assert (rule.where, why) == ("policy[2]", "rules before it answer everything that it could")


@pytest.mark.parametrize("name", SHIPPED_POLICIES)
def test_every_shipped_rule_can_decide(name: str) -> None:
    assert list(unreachable(compile_policy(name, [], shipped_rules(name)).rules)) == []


@EXAMPLES
@given(RULES, FACTS, REPORTS)
def test_what_is_called_unreachable_never_decides(
    drawn: list[tuple[str, dict[str, Any]]], facts: Facts, report: ScanReport
) -> None:
    made = made_of(drawn)
    never = {rule.decision.rule for rule, _ in unreachable(made.rules)}
    early = made.early(facts)
    assert early is None or early.rule not in never
    facts.report = report
    assert made.decide(facts).rule not in never
