"""Walks the rules in order; the first that holds decides.

Every report is answered: a policy whose rules leave an outcome open is refused when it is compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from icapd.config.schema import Rule
from icapd.errors import ConfigurationError, Problem
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.outcomes import Result
from icapd.policy.rules import CompiledRule, Match, compile_rule
from icapd.scan.model import ScanReport, Verdict

UNCOVERED = Decision(Action.BLOCK, "uncovered", "No rule of the policy answers this outcome.")
"""For two kinds of findings that no one rule lets pass together, under a policy without a last rule for all."""

_NOT_SCANNED = ScanReport(Verdict.NOT_SCANNED)


class Policy:
    """An ordered list of rules. Made by `compile_policy`; never changes.

    `digest` is over the rules as they are in force: two nodes with the same digest decide alike.
    """

    __slots__ = ("_by_verdict", "_rules", "digest", "name")

    def __init__(self, name: str, rules: Sequence[CompiledRule], digest: bytes) -> None:
        self.name = name
        self.digest = digest
        self._rules = tuple(rules)
        self._by_verdict = {verdict: _course(rules, verdict) for verdict in Verdict}

    def early(self, facts: Facts) -> Decision | None:
        """What is certain before the body was judged, else None.

        Asked once the encapsulated heads are in. A decision here is the one that `decide` would give for any report.
        """
        for rule in self._rules:
            match = rule.early(facts)
            if match is Match.YES:
                return rule.decision
            if match is Match.NOT_YET_KNOWN:
                return None
        return None

    def decide(self, facts: Facts) -> Decision:
        """The answer. A body without a report is one that was not scanned."""
        report = facts.report or _NOT_SCANNED
        rules, otherwise = self._by_verdict[report.verdict]
        for rule in rules:
            if rule.holds(facts, report):
                return rule.decision
        return otherwise


def compile_policy(name: str, own: Sequence[Rule], shipped: Sequence[Rule] = ()) -> Policy:
    """The operator's own rules, then those of the shipped policy `name`.

    Raises: ConfigurationError with every rule that cannot be meant so, each double name and each outcome left open.
    """
    rules: list[CompiledRule] = []
    problems: list[Problem] = []
    for where, rule in _located(name, own, shipped):
        try:
            rules.append(compile_rule(rule, where))
        except ConfigurationError as error:
            problems += error.problems
    problems += _double_names(name, own, shipped)
    if not problems:
        problems += _open_outcomes(name, rules)
    if problems:
        raise ConfigurationError(problems)
    return Policy(name, rules, _digest([*own, *shipped]))


def _located(name: str, own: Sequence[Rule], shipped: Sequence[Rule]) -> Iterable[tuple[str, Rule]]:
    for index, rule in enumerate(own):
        yield f"policy[{index}]", rule
    for index, rule in enumerate(shipped):
        yield f"{name}.toml: policy[{index}]", rule


def _course(rules: Iterable[CompiledRule], verdict: Verdict) -> tuple[tuple[CompiledRule, ...], Decision]:
    """The rules to be asked about a report of this verdict, and the decision when none of them holds.

    Most policies have none to ask about a clean body, and bodies are mostly clean.
    """
    asked: list[CompiledRule] = []
    for rule in rules:
        if rule.covers(verdict):
            return tuple(asked), rule.decision
        if rule.may_hold(verdict):
            asked.append(rule)
    return tuple(asked), UNCOVERED


def _double_names(name: str, own: Sequence[Rule], shipped: Sequence[Rule]) -> Iterable[Problem]:
    taken = {rule.name: f"a rule of the shipped policy {name}" for rule in shipped}
    for index, rule in enumerate(own):
        if rule.name in taken:
            yield Problem(f"policy[{index}].name", f'"{rule.name}" is the name of {taken[rule.name]} already')
        taken.setdefault(rule.name, f"policy[{index}]")


def _open_outcomes(name: str, rules: Sequence[CompiledRule]) -> Iterable[Problem]:
    for result in Result:
        if not any(rule.answers(result) for rule in rules):
            yield Problem("policy", f"{name}: no rule answers the outcome {result} in every case")


def _digest(rules: Iterable[Rule]) -> bytes:
    encoded = msgspec.json.encode([rule.model_dump() for rule in rules], order="sorted")
    return hashlib.sha256(encoded).digest()
