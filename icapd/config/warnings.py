"""What may be meant, and most likely is not: rules that never decide, and what a rule costs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from icapd.config.keys import did_you_mean
from icapd.config.load import Loaded
from icapd.errors import Problem
from icapd.policy.conditions import entries
from icapd.policy.reach import unreachable
from icapd.scan.model import SPEAKERS, FindingKind

DRIPPING_PROFILES: Final = frozenset({"squid", "generic"})
"""As in net.profiles, which is out of reach from here."""


def warnings(loaded: Loaded) -> list[Problem]:
    """Everything that an operator should look at again, in the order of the rules."""
    found = [*_unreachable(loaded), *_services(loaded), *_unknown_names(loaded), *_undripped(loaded)]
    return sorted(dict.fromkeys(found))


def _unreachable(loaded: Loaded) -> Iterator[Problem]:
    """Of the operator's own rules: that one of them stands before a shipped rule is what it is for."""
    own = {f"policy[{index}]" for index in range(len(loaded.settings.policy))}
    for policy in loaded.policies.values():
        for rule, why in unreachable(policy.rules):
            if rule.where in own:
                yield Problem(rule.where, f"the rule {rule.decision.rule} never decides: {why}")


def _services(loaded: Loaded) -> Iterator[Problem]:
    methods = {service.path: set(service.methods) for service in loaded.settings.service}
    for index, rule in enumerate(loaded.settings.policy):
        asked = {name.upper() for name in entries(rule.when.method)} or {"REQMOD", "RESPMOD"}
        if rule.action == "redirect":
            asked = {"REQMOD"}
        named = [methods.get(path, asked) for path in entries(rule.when.service)]
        if named and not any(asked & served for served in named):
            what = f"its service takes no {' or '.join(sorted(asked))}"
            yield Problem(f"policy[{index}]", f"the rule {rule.name} never decides: {what}")


def _unknown_names(loaded: Loaded) -> Iterator[Problem]:
    """Engines that there are none of, and what is nearly a kind of finding: rules of YARA may have any other name."""
    engines = {name for name, options in loaded.settings.engines.items() if options.enabled} | SPEAKERS
    kinds = [str(kind) for kind in FindingKind]
    for index, rule in enumerate(loaded.settings.policy):
        for name in entries(rule.when.engine):
            if not any(fnmatchcase(engine, name.lower()) for engine in engines):
                what = f'no enabled engine is named "{name}"{did_you_mean(name, engines)}'
                yield Problem(f"policy[{index}].when.engine", what)
        for name in entries(rule.when.finding):
            if name.lower() not in kinds and (meant := did_you_mean(name.lower(), kinds)):
                yield Problem(f"policy[{index}].when.finding", f'no kind of finding is named "{name}"{meant}')


def _undripped(loaded: Loaded) -> Iterator[Problem]:
    for index, service in enumerate(loaded.settings.service):
        drips = service.drip_on_stall
        if drips is None:
            drips = loaded.settings.delivery.drip_on_stall and service.profile in DRIPPING_PROFILES
        if service.scan and drips and "RESPMOD" in service.methods and loaded.policy_of(service).edits_responses:
            what = "rules edit the heads of responses, so nothing drips: Squid before 6.14 may hang on large ones"
            yield Problem(f"service[{index}].drip_on_stall", what)
