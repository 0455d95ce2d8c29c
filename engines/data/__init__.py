"""Data in requests: card numbers, IBANs, private keys, access tokens, prompt injections, and what operators look for.

Owns the options and the spec. `text` makes text of a sample, `detect` looks for values, `validate` says whether they
are what they look like, `engine` reports. To whom a text goes is no fact of the text: policy asks for the host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import re2
from pydantic import BaseModel, ConfigDict, Field

from engines.data.detect import DETECTORS
from engines.data.engine import DataEngine, Found, Level, OwnRule
from icapd.scan.engine_api import ConfigurationError, EngineOptions, EngineSpec, Material, Problem

Setting = Literal["off", "info", "low", "medium", "high", "critical"]
_PATTERN_BYTES = 8 * 1024 * 1024


class DataRule(BaseModel):
    """One rule of the operator's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        examples=["project-names"], pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="found as data/NAME"
    )
    pattern: str = Field(
        examples=["(?i)project (?:falcon|osprey)"],
        min_length=1,
        max_length=1000,
        description="a regular expression (RE2: no look-around, no back-references)",
    )
    validator: Literal["none", "luhn", "payment-card", "iban", "varied"] = Field(
        "none", examples=["luhn"], description="what a value must pass; varied: ten different characters or more"
    )
    minimum: int = Field(1, ge=1, le=1000, examples=[1], description="distinct values from which on it counts")
    severity: Level = Field("high", examples=["high"], description="info: recorded; else forbidden")


class DataOptions(EngineOptions):
    enabled: bool = Field(False, description="look for data in text")
    payment_card: Setting = Field("high", description="card numbers; info: recorded; else forbidden")
    payment_card_minimum: int = Field(1, ge=1, le=1000, description="distinct numbers from which on they count")
    iban: Setting = Field("info", description="bank accounts; many pages show one")
    iban_minimum: int = Field(1, ge=1, le=1000, description="distinct accounts from which on they count")
    private_key: Setting = Field("high", description="PEM and PGP, with their content")
    access_token: Setting = Field("high", description="of GitHub, GitLab, AWS, Slack, Stripe, OpenAI and others")
    prompt_injection: Setting = Field("info", description="phrases against language models; see docs/data.md")
    max_text_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, description="one text; of a larger one its beginning is looked at"
    )
    rule: list[DataRule] = Field([], description="your own rules")


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> DataEngine:
    assert isinstance(options, DataOptions)
    settings: dict[str, Setting] = {key: getattr(options, key) for key in DETECTORS}
    minimums = {"payment_card": options.payment_card_minimum, "iban": options.iban_minimum}
    builtin = {key: Found(level, minimums.get(key, 1)) for key, level in settings.items() if level != "off"}
    problems: list[Problem] = []
    rules = []
    for index, rule in enumerate(options.rule):
        try:
            pattern = _compiled(rule.pattern)
        except re2.error as error:
            problems.append(Problem(f"engines.data.rule[{index}].pattern", _said(error)))
            continue
        rules.append(OwnRule(rule.name, pattern, rule.validator, Found(rule.severity, rule.minimum)))
    names = [rule.name for rule in options.rule]
    for index, name in enumerate(names):
        if name in names[:index] or name in _TAKEN:
            problems.append(Problem(f"engines.data.rule[{index}].name", f'"{name}" is taken'))
    if problems:
        raise ConfigurationError(problems)
    return DataEngine(builtin, rules, options.max_text_bytes, options.timeout_s)


_TAKEN = frozenset(key.replace("_", "-") for key in DETECTORS)


def _said(error: re2.error) -> str:
    """RE2 explains itself in bytes."""
    said = error.args[0]
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _compiled(pattern: str) -> re2._Regexp:
    """Raises: re2.error."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    return re2.compile(pattern, options)


def _version() -> str:
    return "1"


SPEC = EngineSpec(name="data", options=DataOptions, gather=_gather, build=_build, version=_version)
