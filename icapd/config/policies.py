"""Reads the shipped policies and compiles the policies that a configuration uses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import get_args

from icapd.config.schema import PolicyName, Rule, Service, Settings
from icapd.config.shipped import shipped_conf
from icapd.errors import ConfigurationError, Problem
from icapd.policy.decide import Policy, compile_policy

SHIPPED_POLICIES = tuple(name for name in get_args(PolicyName) if name != "custom")


def shipped_rules(name: str) -> list[Rule]:
    """The rules of a shipped policy; none for "custom"."""
    if name not in SHIPPED_POLICIES:
        return []
    text = (shipped_conf() / "policies" / f"{name}.toml").read_text(encoding="utf-8")
    return [Rule.model_validate(table) for table in tomllib.loads(text)["policy"]]


def services_of(settings: Settings) -> list[Service]:
    """Every service, that of the HTTP listener too where there is one."""
    return [*settings.service, *([settings.http.service] if settings.http.listen else [])]


def policy_names(settings: Settings) -> list[str]:
    """Every policy that the server or a service names."""
    return sorted(
        {settings.server.policy, *(service.policy or settings.server.policy for service in services_of(settings))}
    )


def compile_policies(settings: Settings) -> dict[str, Policy]:
    """One compiled policy for each name in use.

    Raises: ConfigurationError with the problems of all of them.
    """
    policies: dict[str, Policy] = {}
    problems: list[Problem] = []
    for name in policy_names(settings):
        try:
            policies[name] = compile_policy(name, settings.policy, shipped_rules(name))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(list(_once(problems)))
    return policies


def _once(problems: Iterable[Problem]) -> Iterable[Problem]:
    """The operator's rules stand in every policy, and so do their problems."""
    return dict.fromkeys(problems)
