"""Which rules of many may hold, without asking each.

Each kind of condition has a table from what it looks at to the rules that may hold then; the tables' answers are
joined by `&`. A table may name too many rules, never too few: those left are asked in full. So what a policy says
does not depend on this module, only how fast it says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from icapd.config.schema import When
from icapd.policy.conditions import account_names, all_types, entries, host_name, url_forms
from icapd.policy.facts import Facts
from icapd.policy.rules import CompiledRule
from icapd.policy.tables import ClientTable, Known, NameTable, NumberTable, sum_bits
from icapd.policy.times import week_spans
from icapd.scan.model import ScanReport, Verdict

FixedTable = Callable[[Facts], int]
JudgedTable = Callable[[Facts, ScanReport], int]


class FixedTables:
    """The tables that heads answer: those that any of the rules needs."""

    __slots__ = ("_known", "_others")

    def __init__(self, rules: Sequence[CompiledRule]) -> None:
        whens = [rule.source.when for rule in rules]
        self._known = tuple(_known_tables(whens))
        self._others = tuple(_other_tables(whens))

    def narrow(self, left: int, facts: Facts) -> int:
        """Those of the rules `left` that may hold for these facts."""
        for read, known in self._known:
            left &= known[read(facts)]
        for table in self._others:
            left &= table(facts)
        return left


def _known_tables(whens: Sequence[When]) -> Iterator[tuple[Callable[[Facts], Any], Known]]:
    """What to read, and the table that knows it."""
    for key in ("method", "service", "http_method", "extension"):
        if _is_asked(key, whens):
            yield attrgetter(key), _by_name(_names(key, whens))
    if _is_asked("host", whens):
        hosts = NameTable([entries(when.host) for when in whens], has_suffixes=True)
        yield attrgetter("host"), Known(lambda host: hosts.find((host_name(host),)), hosts.otherwise)
    if _is_asked("user", whens):
        users = _names("user", whens)
        yield attrgetter("user"), Known(lambda user: users.find(account_names(user.lower())), users.otherwise)
    if _is_asked("group", whens):
        yield attrgetter("groups"), _groups_table(_names("group", whens))
    if _is_asked("client", whens):
        clients = ClientTable([entries(when.client) for when in whens])
        yield attrgetter("client"), Known(clients.find, clients.otherwise)


def _names(key: str, whens: Sequence[When]) -> NameTable:
    return NameTable([entries(getattr(when, key)) for when in whens])


def _by_name(table: NameTable) -> Known:
    return Known(lambda name: table.find((name.lower(),)), table.otherwise, len)


def _groups_table(table: NameTable) -> Known:
    """Groups are few, and everybody has others of them."""
    known = Known(lambda group: table.find(account_names(group.lower())), table.otherwise, len)
    return Known(lambda groups: sum_bits([table.otherwise, *map(known.__getitem__, groups)]), 0, _characters)


def _is_asked(key: str, whens: Sequence[When]) -> bool:
    return any(getattr(when, key) is not None for when in whens)


def _other_tables(whens: Sequence[When]) -> Iterator[FixedTable]:
    if _is_asked("url", whens):
        yield _url_table(_names("url", whens))
    if _is_asked("declared_type", whens):
        yield _declared_table(_names("declared_type", whens))
    if _is_asked("time", whens) or _is_asked("weekday", whens):
        yield _time_table(whens)


def _url_table(table: NameTable) -> FixedTable:
    """URLs do not come again often enough to be kept."""

    def find(facts: Facts) -> int:
        url = facts.url
        return table.otherwise if url is None else table.find(tuple(map(str.lower, url_forms(url))))

    return find


def _declared_table(table: NameTable) -> FixedTable:
    known = Known(
        lambda types: table.find([name.lower() for name in all_types(*types)]), table.otherwise, _characters_of_types
    )
    return lambda facts: known[facts.media_type, facts.media_types]


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
        if _is_asked(key, whens):
            yield _type_table(_names(key, whens), believes)
    if any(when.size_over_bytes is not None or when.size_under_bytes is not None for when in whens):
        yield _size_table(whens)


def _finding_table(rules: Sequence[CompiledRule]) -> JudgedTable:
    asks_nothing = ~sum_bits(1 << place for place, rule in enumerate(rules) if rule.findings is not None)
    known = _by_name(NameTable([entries(rule.source.when.finding) for rule in rules]))

    def find(facts: Facts, report: ScanReport) -> int:
        if not report.findings:
            return asks_nothing
        found = 0
        for finding in report.findings:
            found |= known[finding.name] | known[finding.kind]
        return found

    return find


def _type_table(table: NameTable, believes: bool) -> JudgedTable:
    real = _by_name(table)
    declared = _declared_table(table)
    if not believes:
        return lambda facts, report: real[report.identity.media_type]
    return lambda facts, report: real[report.identity.media_type] | declared(facts)


def _size_table(whens: Sequence[When]) -> JudgedTable:
    asked: list[list[tuple[float, float]]] = []
    for when in whens:
        over, under = when.size_over_bytes, when.size_under_bytes
        span = (-1.0 if over is None else over + 1, float("inf") if under is None else under)
        asked.append([span] if over is not None or under is not None else [])
    table = NumberTable(asked)

    def find(facts: Facts, report: ScanReport) -> int:
        found = table.find(report.size_bytes)
        if facts.size_bytes is None or facts.size_bytes == report.size_bytes:
            return found
        return found | table.find(facts.size_bytes)

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


def _characters(texts: Iterable[str]) -> int:
    return sum(map(len, texts))


def _characters_of_types(types: tuple[str | None, tuple[str, ...]]) -> int:
    first, others = types
    return len(first or "") + _characters(others)
