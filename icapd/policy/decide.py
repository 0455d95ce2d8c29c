"""Walks the rules in order; the first that holds decides.

Every report is answered: a policy whose rules leave an outcome open is refused when it is compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from icapd.config.schema import Rule
from icapd.errors import ConfigurationError, Problem
from icapd.policy.conditions import entries
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.index import FixedTables, judged_tables, verdict_masks
from icapd.policy.outcomes import Result
from icapd.policy.rules import CompiledRule, Match, compile_rule
from icapd.scan.model import ScanReport, Verdict

UNCOVERED = Decision(Action.BLOCK, "uncovered", "No rule of the policy answers this outcome.")
"""For two kinds of findings that no one rule lets pass together, under a policy without a last rule for all."""

_NOT_SCANNED = ScanReport(Verdict.NOT_SCANNED)


class Decides(Protocol):
    """What a transaction asks: a policy, or one as a single request meets it."""

    def early(self, facts: Facts, listed: ScanReport | None = None) -> Decision | None: ...

    def decide(self, facts: Facts) -> Decision: ...


class Policy:
    """An ordered list of rules. Made by `compile_policy`; never changes.

    `digest` is over the rules as they are in force: two nodes with the same digest decide alike. `edits_responses`
    says that a rule may change the head of a response that passes.
    """

    __slots__ = (
        "_all",
        "_by_verdict",
        "_fixed",
        "_judged",
        "_spoken_early",
        "digest",
        "edits_responses",
        "name",
        "rules",
    )

    def __init__(self, name: str, rules: Sequence[CompiledRule], digest: bytes) -> None:
        self.name = name
        self.digest = digest
        self.rules = tuple(rules)
        self.edits_responses = any(rule.decision.edits and _is_for_responses(rule) for rule in rules)
        self._all = (1 << len(rules)) - 1
        self._fixed = FixedTables(rules)
        self._judged = tuple(judged_tables(rules))
        self._by_verdict = verdict_masks(rules)
        self._spoken_early = _may_speak_early(rules)

    def early(self, facts: Facts, listed: ScanReport | None = None) -> Decision | None:
        """What is certain before the body was judged, else None.

        Asked once the encapsulated heads are in. A decision here is the one that `decide` would give for any report;
        with findings known by then (`listed`), another rule that refuses may come before it.
        """
        if not self._spoken_early and listed is None:
            return None
        rules, left = self.rules, self._fixed.narrow(self._all, facts)
        may_refuse_otherwise = False
        while left:
            lowest = left & -left
            rule = rules[lowest.bit_length() - 1]
            match = rule.early(facts, listed)
            if match is Match.YES:
                return None if may_refuse_otherwise and not rule.refuses else rule.decision
            if match is Match.NOT_YET_KNOWN:
                if listed is None or not rule.refuses:
                    return None
                may_refuse_otherwise = True
            left ^= lowest
        return None

    def constant(self, verdict: Verdict) -> Decision | None:
        """The answer to every report of this verdict, if it is always the same."""
        left, otherwise = self._by_verdict[verdict]
        return None if left or otherwise is None else otherwise.decision

    def decide(self, facts: Facts) -> Decision:
        """The answer. A body without a report is one that was not scanned."""
        report = facts.report or _NOT_SCANNED
        left, otherwise = self._by_verdict[report.verdict]
        if left:
            left = self._fixed.narrow(left, facts)
            for judged in self._judged:
                left &= judged(facts, report)
        while left:
            lowest = left & -left
            rule = self.rules[lowest.bit_length() - 1]
            if rule.holds(facts, report):
                return rule.decision
            left ^= lowest
        return UNCOVERED if otherwise is None else otherwise.decision


def _is_for_responses(rule: CompiledRule) -> bool:
    methods = entries(rule.source.when.method)
    return not methods or "RESPMOD" in map(str.upper, methods)


def _may_speak_early(rules: Sequence[CompiledRule]) -> bool:
    """Whether any rule can decide before a scan: one that no scan must answer, before the first that every body waits
    for."""
    for rule in rules:
        if not rule.is_judged and (not rule.content or rule.refuses):
            return True
        if not rule.fixed:
            return False
    return False


def compile_policy(name: str, own: Sequence[Rule], shipped: Sequence[Rule] = ()) -> Policy:
    """The operator's own rules, then those of the shipped policy `name`.

    Raises: ConfigurationError with every rule that cannot be meant so, each double name and each outcome left open.
    """
    rules: list[CompiledRule] = []
    problems: list[Problem] = []
    for where, rule, is_shipped in _located(name, own, shipped):
        try:
            rules.append(compile_rule(rule, where, is_shipped=is_shipped))
        except ConfigurationError as error:
            problems += error.problems
    problems += _double_names(name, own, shipped)
    if not problems:
        problems += _open_outcomes(name, rules)
    if problems:
        raise ConfigurationError(problems)
    return Policy(name, rules, _digest([*own, *shipped]))


def _located(name: str, own: Sequence[Rule], shipped: Sequence[Rule]) -> Iterable[tuple[str, Rule, bool]]:
    for index, rule in enumerate(own):
        yield f"policy[{index}]", rule, False
    for index, rule in enumerate(shipped):
        yield f"{name}.toml: policy[{index}]", rule, True


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
