"""Which delivery mode a message has: a word, and the rules that choose it by the heads."""

from __future__ import annotations

import enum

from icapd.config.schema import Delivery, Rule
from icapd.errors import ConfigurationError, Problem
from icapd.policy.rules import CompiledRule, compile_rule


class Mode(enum.StrEnum):
    """What becomes of a body before its verdict."""

    AUTO = "auto"
    HOLD = "hold"
    TRICKLE = "trickle"
    STREAM = "stream"
    SKIP = "skip"


def compile_modes(settings: Delivery) -> tuple[tuple[CompiledRule, Mode], ...]:
    """The rules of delivery. They go by the heads alone, and declared types and sizes count.

    Raises: ConfigurationError with every condition that cannot be meant, or is known after the scan only.
    """
    compiled: list[tuple[CompiledRule, Mode]] = []
    problems: list[Problem] = []
    for index, rule in enumerate(settings.rule):
        where = f"delivery.rule[{index}]"
        try:
            # A rule that blocks holds for what is claimed, which is what is meant here.
            one = compile_rule(Rule(name=f"delivery-{index}", when=rule.when, action="block"), where)
        except ConfigurationError as error:
            problems += error.problems
            continue
        if one.is_judged:
            problems.append(Problem(f"{where}.when", "asks for what is known after the scan only"))
        compiled.append((one, Mode(rule.mode)))
    if problems:
        raise ConfigurationError(problems)
    return tuple(compiled)
