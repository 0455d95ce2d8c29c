"""Which rules of many may hold, without asking each.

Rules are bits of an integer. Each kind of condition has a table from what it looks at to the rules that may hold
then; the tables' answers are joined by `&`. A table may name too many rules, never too few: those left are asked in
full. So what a policy says does not
depend on this module, only how fast it says it.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from icapd.config.schema import When
from icapd.policy.conditions import (
    account_names,
    all_account_names,
    all_types,
    client_address,
    declared_types,
    entries,
    host_name,
    url_forms,
)
from icapd.policy.facts import Facts
from icapd.policy.names import Glob, is_wild
from icapd.policy.rules import CompiledRule
from icapd.policy.times import week_spans
from icapd.scan.model import ScanReport, Verdict

_KEPT = 1024

FixedTable = Callable[[Facts], int]
JudgedTable = Callable[[Facts, ScanReport], int]


class NameTable:
    """Rules by names in any case, with wildcards. `otherwise`: the rules that do not ask.

    A name with wildcards is looked for by the longest plain text in it, all of them at once by one expression.
    """

    __slots__ = ("_by_needle", "_by_suffix", "_exact", "_labels_max", "_search", "otherwise")

    def __init__(self, rules: Sequence[Sequence[str]], *, has_suffixes: bool = False) -> None:
        self.otherwise = 0
        self._exact: dict[str, int] = {}
        self._by_suffix: dict[str, int] = {}
        by_needle: dict[str, int] = {}
        for place, names in enumerate(rules):
            bit = 1 << place
            for name in map(str.lower, names):
                if has_suffixes and name.startswith("."):
                    suffix = name.strip(".")
                    self._by_suffix[suffix] = self._by_suffix.get(suffix, 0) | bit
                    continue
                name = name.rstrip(".") if has_suffixes else name
                if not is_wild(name):
                    self._exact[name] = self._exact.get(name, 0) | bit
                elif needle := Glob(name).needle:
                    by_needle[needle] = by_needle.get(needle, 0) | bit
                else:
                    self.otherwise |= bit
            if not names:
                self.otherwise |= bit
        self._labels_max = max((suffix.count(".") + 1 for suffix in self._by_suffix), default=0)
        # A search finds the longest needle at a place; the shorter ones that begin it are there as well.
        self._by_needle = {
            needle: sum_bits(bits for other, bits in by_needle.items() if needle.startswith(other))
            for needle in by_needle
        }
        self._search = re.compile(_any_of(by_needle), re.DOTALL).search if by_needle else None

    def find(self, text: str) -> int:
        """The rules that may hold for this text."""
        text = text.lower()
        found = self.otherwise | self._exact.get(text, 0)
        if self._labels_max:
            end = len(text)
            for _ in range(self._labels_max):
                end = text.rfind(".", 0, end)
                found |= self._by_suffix.get(text[end + 1 :], 0)
                if end < 0:
                    break
        search = self._search
        if search is not None:
            match = search(text)
            while match is not None:
                found |= self._by_needle[match[0]]
                match = search(text, match.start() + 1)
        return found


class NumberTable:
    """Rules by spans of whole numbers."""

    __slots__ = ("_bounds", "_masks", "otherwise")

    def __init__(self, rules: Sequence[Sequence[tuple[float, float]]]) -> None:
        self.otherwise = sum_bits(1 << place for place, spans in enumerate(rules) if not spans)
        self._bounds = sorted({bound for spans in rules for span in spans for bound in span})
        self._masks = [self.otherwise]
        for bound in self._bounds:
            inside = (
                1 << place for place, spans in enumerate(rules) if any(start <= bound < end for start, end in spans)
            )
            self._masks.append(self.otherwise | sum_bits(inside))

    def find(self, number: float) -> int:
        """The rules whose spans hold this number."""
        return self._masks[bisect_right(self._bounds, number)]


class ClientTable:
    """Rules by the networks of clients. A client that is named by no address meets all that ask for one."""

    __slots__ = ("_asked", "_lengths", "otherwise")

    def __init__(self, rules: Sequence[Sequence[str]]) -> None:
        self.otherwise = sum_bits(1 << place for place, networks in enumerate(rules) if not networks)
        self._asked = sum_bits(1 << place for place, networks in enumerate(rules) if networks)
        tables: dict[tuple[int, int], dict[int, int]] = {}
        for place, networks in enumerate(rules):
            for network in (ipaddress.ip_network(text, strict=False) for text in networks):
                shift = network.max_prefixlen - network.prefixlen
                table = tables.setdefault((network.version, shift), {})
                start = int(network.network_address) >> shift
                table[start] = table.get(start, 0) | (1 << place)
        self._lengths = {
            version: [(shift, table) for (its_version, shift), table in tables.items() if its_version == version]
            for version in (4, 6)
        }

    def __call__(self, facts: Facts) -> int:
        if not facts.client:
            return self.otherwise
        address = client_address(facts.client)
        if address is None:
            return self.otherwise | self._asked
        number, found = int(address), self.otherwise
        for shift, table in self._lengths[address.version]:
            found |= table.get(number >> shift, 0)
        return found


def sum_bits(masks: Iterable[int]) -> int:
    """All bits of several masks."""
    found = 0
    for mask in masks:
        found |= mask
    return found


def fixed_tables(rules: Sequence[CompiledRule]) -> Iterator[FixedTable]:
    """The tables that heads answer: those that any rule needs."""
    whens = [rule.source.when for rule in rules]
    yield from _word_tables(whens)
    if any(when.client is not None for when in whens):
        yield ClientTable([entries(when.client) for when in whens])
    if any(when.time is not None or when.weekday is not None for when in whens):
        yield _time_table(whens)


def _word_tables(whens: Sequence[When]) -> Iterator[FixedTable]:
    """Each condition by names, with the fact it looks at and the texts to be found of it."""
    looked_at: tuple[tuple[str, Callable[[Facts], Hashable], Callable[[Any], Iterable[str]]], ...] = (
        ("method", attrgetter("method"), _one),
        ("service", attrgetter("service"), _one),
        ("http_method", attrgetter("http_method"), _one),
        ("extension", attrgetter("extension"), _one),
        ("host", attrgetter("host"), lambda host: (host_name(host),)),
        ("user", attrgetter("user"), account_names),
        ("group", attrgetter("groups"), all_account_names),
        ("declared_type", attrgetter("media_type", "media_types"), lambda types: all_types(*types)),
    )
    for key, read, texts in looked_at:
        names = [entries(getattr(when, key)) for when in whens]
        if any(names):
            yield _remembering(NameTable(names, has_suffixes=key == "host"), read, texts)
    names = [entries(when.url) for when in whens]
    if any(names):
        yield _url_table(NameTable(names))


def _remembering(
    table: NameTable, read: Callable[[Facts], Hashable], texts: Callable[[Any], Iterable[str]]
) -> FixedTable:
    """A table for facts of which a few come again and again: their answers are kept."""

    @lru_cache(maxsize=_KEPT)
    def find(value: Hashable) -> int:
        return table.otherwise if value is None else table.otherwise | sum_bits(map(table.find, texts(value)))

    return lambda facts: find(read(facts))


def _url_table(table: NameTable) -> FixedTable:
    def find(facts: Facts) -> int:
        url = facts.url
        return table.otherwise if url is None else table.otherwise | sum_bits(map(table.find, url_forms(url)))

    return find


def _time_table(whens: Sequence[When]) -> FixedTable:
    asked = [
        week_spans(entries(when.time), entries(when.weekday))
        if when.time is not None or when.weekday is not None
        else ()
        for when in whens
    ]
    table = NumberTable(asked)
    return lambda facts: table.otherwise if facts.week_minute is None else table.find(facts.week_minute)


def judged_tables(rules: Sequence[CompiledRule]) -> Iterator[JudgedTable]:
    """The tables that a report answers: those that any rule needs."""
    whens = [rule.source.when for rule in rules]
    if any(rule.findings is not None for rule in rules):
        yield _finding_table(rules)
    for key, believes in (("media_type", True), ("real_type", False)):
        names = [entries(getattr(when, key)) for when in whens]
        if any(names):
            yield _type_table(NameTable(names), believes)
    if any(when.size_over_bytes is not None or when.size_under_bytes is not None for when in whens):
        yield _size_table(whens)


def _finding_table(rules: Sequence[CompiledRule]) -> JudgedTable:
    by_any = sum_bits(1 << place for place, rule in enumerate(rules) if rule.findings is not None)
    table = NameTable([entries(rule.source.when.finding) for rule in rules])
    asks_nothing = ~by_any

    def find(facts: Facts, report: ScanReport) -> int:
        if not report.findings:
            return asks_nothing
        found = 0
        for finding in report.findings:
            found |= table.find(finding.name) | table.find(finding.kind)
        return found

    return find


def _type_table(table: NameTable, believes: bool) -> JudgedTable:
    def find(facts: Facts, report: ScanReport) -> int:
        found = table.find(report.identity.media_type)
        return found | sum_bits(map(table.find, declared_types(facts))) if believes else found

    return find


def _size_table(whens: Sequence[When]) -> JudgedTable:
    asked: list[list[tuple[float, float]]] = []
    for when in whens:
        over, under = when.size_over_bytes, when.size_under_bytes
        span = (-1.0 if over is None else over + 1, float("inf") if under is None else under)
        asked.append([span] if over is not None or under is not None else [])
    table = NumberTable(asked)

    def find(facts: Facts, report: ScanReport) -> int:
        found = table.find(report.size_bytes)
        return found if facts.size_bytes is None else found | table.find(facts.size_bytes)

    return find


def verdict_masks(rules: Sequence[CompiledRule]) -> dict[Verdict, tuple[int, CompiledRule | None]]:
    """For each verdict the rules to be asked, and the one that answers when none of them holds, where there is one.

    Most policies have none to ask about a clean body, and bodies are mostly clean.
    """
    masks: dict[Verdict, tuple[int, CompiledRule | None]] = {}
    for verdict in Verdict:
        last = next((place for place, rule in enumerate(rules) if rule.covers(verdict)), len(rules))
        asked = sum_bits(1 << place for place, rule in enumerate(rules[:last]) if rule.may_hold(verdict))
        masks[verdict] = asked, rules[last] if last < len(rules) else None
    return masks


def _one(text: str) -> tuple[str]:
    return (text,)


class _Branch(dict[str, "_Branch"]):
    """What may follow a letter; the empty text where a needle ends."""


def _any_of(needles: Iterable[str]) -> str:
    """An expression for any of these texts, the longest that fits: a tree of what they begin with in common.

    Tried letter by letter, where a plain list of alternatives would be tried one by one at each place.
    """
    tree = _Branch()
    for needle in needles:
        node = tree
        for char in needle:
            node = node.setdefault(char, _Branch())
        node[""] = _Branch()
    return _expression(tree)


def _expression(node: _Branch) -> str:
    branches = [re.escape(char) + _expression(below) for char, below in sorted(node.items()) if char]
    if not branches:
        return ""
    either = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{either})?" if "" in node else either
