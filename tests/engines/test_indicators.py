"""The tables hold together, the page tells them, and weights add up as it says."""

from __future__ import annotations

import re

import pytest

from engines.office import tables as office
from engines.pdf import table as pdf
from icapd.scan.indicators import FINDINGS_MAX, Combination, Indicator, Thresholds, add_up
from icapd.scan.model import Finding, FindingKind, Severity
from tests.engines.indicators_page import PAGE, page

SIGNS = [*(row for rows in office.TABLES.values() for row in rows), *pdf.ALL]
COMBINATIONS = [*office.COMBINATIONS, *pdf.COMBINATIONS]
ROWS: list[Indicator | Combination] = [*SIGNS, *COMBINATIONS]
TECHNIQUE = re.compile(r"(T\d{4}(\.\d{3})?)?")


def test_the_page_tells_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_is_well_formed(row: Indicator | Combination) -> None:
    assert re.fullmatch(r"(vba|ole|xlm|ooxml|rtf|pdf):[a-z0-9-]{3,40}", row.name)
    assert 0 < row.weight <= 100
    assert TECHNIQUE.fullmatch(row.technique)
    assert row.source or row.technique
    assert 10 < len(row.meaning) < 120


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))


def test_every_group_that_a_combination_needs_exists() -> None:
    groups = {row.group for row in SIGNS}
    for row in COMBINATIONS:
        assert row.needs <= groups, row.name


def sign(name: str, weight: int, severity: Severity = Severity.MEDIUM) -> Indicator:
    return Indicator(name, name, weight, severity, "", "", "")


def summed(*signs: Indicator, combinations: tuple[Combination, ...] = ()) -> list[Finding]:
    return add_up("test", signs, combinations, Thresholds(40, 100), ("a",))


def test_nothing_seen_is_nothing_found() -> None:
    assert summed() == []


def test_weights_below_the_threshold_are_recorded() -> None:
    assert summed(sign("a", 39)) == [Finding(FindingKind.INFO, "a", "test", Severity.INFO, ("a",))]


def test_weights_add_up_under_the_heaviest_name_and_each_counts_once() -> None:
    found = summed(sign("a", 10), sign("b", 30), sign("a", 10))
    assert [(each.kind, each.name) for each in found] == [(FindingKind.SUSPICIOUS, "b"), (FindingKind.INFO, "a")]
    assert summed(sign("a", 20), sign("a", 20))[0].kind is FindingKind.INFO


def test_malicious_takes_a_strong_sign_as_well() -> None:
    weak = [sign(f"w{number}", 50) for number in range(5)]
    assert summed(*weak)[0].kind is FindingKind.SUSPICIOUS
    found = summed(*weak, sign("strong", 1, Severity.HIGH))
    assert (found[0].kind, found[0].severity) == (FindingKind.MALWARE, Severity.HIGH)


def test_a_combination_counts_when_all_its_groups_are_there() -> None:
    both = Combination("both", frozenset({"a", "b"}), 100, Severity.HIGH, "", "", "")
    assert summed(sign("a", 1), combinations=(both,))[0].kind is FindingKind.INFO
    assert summed(sign("a", 1), sign("b", 1), combinations=(both,))[0].name == "both"


def test_no_more_rows_are_recorded_than_the_limit() -> None:
    signs = [sign(f"s{number}", 1) for number in range(FINDINGS_MAX + 1)]
    assert len(summed(*signs[:-1])) == FINDINGS_MAX
    assert len(summed(*signs)) == FINDINGS_MAX
