"""Finds rules that can never decide: their conditions exclude each other, or a rule before them always holds first.

Says nothing where it is not sure: a rule that only several others together leave nothing to is not found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence

from icapd.config.schema import When
from icapd.policy.conditions import entries
from icapd.policy.names import Glob, is_wild
from icapd.policy.outcomes import MEANING
from icapd.policy.rules import NOTHING_COUNTS, CompiledRule
from icapd.policy.times import Span, week_spans
from icapd.scan.model import Verdict

_STRICTER_WHEN_PASSING = (
    *("verdict", "outcome", "finding", "severity", "engine", "client", "url"),
    *("declared_type", "media_type", "real_type", "size_over_bytes", "size_under_bytes"),
)
"""Conditions that hold less often in a rule that lets pass than in one that refuses."""


def unreachable(rules: Sequence[CompiledRule]) -> Iterator[tuple[CompiledRule, str]]:
    """Each rule that can never decide, and why."""
    for place, rule in enumerate(rules):
        if why := _contradiction(rule) or _standing_before(rule, rules[:place]):
            yield rule, why


def _contradiction(rule: CompiledRule) -> str:
    verdicts, results = rule.verdicts, rule.results
    if verdicts is None or results is None:
        return ""
    meant = {MEANING[result][0] for result in results}
    looks_past = rule.refuses and not verdicts <= NOTHING_COUNTS and not meant <= NOTHING_COUNTS
    if looks_past or not verdicts.isdisjoint(meant):
        return ""
    return f"no outcome of {' '.join(sorted(results))} has the verdict {' '.join(sorted(verdicts))}"


def _standing_before(rule: CompiledRule, before: Sequence[CompiledRule]) -> str:
    for other in before:
        if _holds_wherever(other, rule):
            return f"{other.where} ({other.decision.rule}) always holds before it"
    possible = [verdict for verdict in Verdict if rule.may_hold(verdict)]
    if all(any(other.covers(verdict) for other in before) for verdict in possible):
        return "rules before it answer everything that it could"
    return ""


def _holds_wherever(earlier: CompiledRule, later: CompiledRule) -> bool:
    """Whether `earlier` holds whenever `later` does."""
    wide, narrow = earlier.source.when, later.source.when
    if not earlier.refuses:
        if later.refuses and any(getattr(wide, key) is not None for key in _STRICTER_WHEN_PASSING):
            return False
        # Which findings a rule that lets pass must name depends on the verdicts that it asks for.
        if earlier.findings is not None and earlier.verdicts != later.verdicts:
            return False
    return all(holds(wide, narrow) for holds in _CONDITIONS)


def _words(key: str) -> Callable[[When, When], bool]:
    def holds(wide: When, narrow: When) -> bool:
        outer, inner = ({name.lower() for name in entries(getattr(when, key))} for when in (wide, narrow))
        return not outer or (bool(inner) and inner <= outer)

    return holds


def _names(key: str) -> Callable[[When, When], bool]:
    def holds(wide: When, narrow: When) -> bool:
        outer, inner = ([name.lower() for name in entries(getattr(when, key))] for when in (wide, narrow))
        return not outer or (bool(inner) and _are_within(inner, outer, has_suffixes=key == "host"))

    return holds


def _are_within(names: Sequence[str], outer: Sequence[str], *, has_suffixes: bool) -> bool:
    """Whether every text that one of the `names` means is one of those that `outer` means."""
    exact = frozenset(outer)
    ends = tuple(name for name in outer if has_suffixes and name.startswith(".") and not is_wild(name))
    globs = [(Glob(name), "?" in name) for name in outer if is_wild(name)]
    return all(
        name in exact
        or "." + name in ends
        or name.endswith(ends)
        or any(glob.matches(name) for glob, has_one in globs if not (has_one and is_wild(name)))
        for name in names
    )


def _clients(wide: When, narrow: When) -> bool:
    outer, inner = (
        [ipaddress.ip_network(text, strict=False) for text in entries(when.client)] for when in (wide, narrow)
    )
    return not outer or (bool(inner) and all(any(_is_subnet(a, b) for b in outer) for a in inner))


def _is_subnet(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def _sizes(wide: When, narrow: When) -> bool:
    over = wide.size_over_bytes is None or (
        narrow.size_over_bytes is not None and narrow.size_over_bytes >= wide.size_over_bytes
    )
    under = wide.size_under_bytes is None or (
        narrow.size_under_bytes is not None and narrow.size_under_bytes <= wide.size_under_bytes
    )
    return over and under


def _times(wide: When, narrow: When) -> bool:
    outer, inner = _spans(wide), _spans(narrow)
    return outer is None or (
        inner is not None and all(any(a[0] >= b[0] and a[1] <= b[1] for b in outer) for a in inner)
    )


def _spans(when: When) -> tuple[Span, ...] | None:
    if when.time is None and when.weekday is None:
        return None
    return week_spans(entries(when.time), entries(when.weekday))


_CONDITIONS: tuple[Callable[[When, When], bool], ...] = (
    *map(_words, ("verdict", "outcome", "severity", "method", "service", "http_method")),
    *map(_names, ("finding", "engine", "user", "group", "host", "url", "media_type", "declared_type", "real_type")),
    _names("extension"),
    _clients,
    _sizes,
    _times,
)
"""For each condition: whether it holds in the first rule wherever it holds in the second."""
