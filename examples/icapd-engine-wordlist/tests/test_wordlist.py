"""The tests an engine's author would write, with nothing but icapd installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from icapd_wordlist import FINDINGS_MAX, SPEC, WordlistOptions, gather

from engines import testkit
from icapd.errors import ConfigurationError
from icapd.scan.model import FindingKind, Outcome


@pytest.fixture
def options(tmp_path: Path) -> dict[str, list[str]]:
    (tmp_path / "words.txt").write_text("# dishes\nsoup\nbread  # fresh\n\nSoupspoon\n")
    return {"lists": [str(tmp_path / "words.txt")]}


def test_words_are_found_whatever_their_case(options: dict[str, list[str]]) -> None:
    report = testkit.scan(SPEC, b"Bread and SOUP, and a soupspoon. Bread!", options=options)
    assert report.outcome is Outcome.FOUND
    assert {finding.name for finding in report.findings} == {"word:bread", "word:soup", "word:soupspoon"}
    assert {finding.kind for finding in report.findings} == {FindingKind.FORBIDDEN}


def test_other_bodies_pass(options: dict[str, list[str]]) -> None:
    assert testkit.scan(SPEC, b"nothing of the kind", options=options).outcome is Outcome.NOTHING_FOUND
    assert testkit.scan(SPEC, b"soup").outcome is Outcome.SKIPPED


def test_findings_end_at_their_limit(tmp_path: Path) -> None:
    words = [f"word{number:03}" for number in range(FINDINGS_MAX + 1)]
    (tmp_path / "many").write_text("\n".join(words))
    for count in (FINDINGS_MAX - 1, FINDINGS_MAX, FINDINGS_MAX + 1):
        body = " ".join(words[:count]).encode()
        report = testkit.scan(SPEC, body, options={"lists": ["many"]}, folder=tmp_path)
        assert len(set(report.findings)) == min(count, FINDINGS_MAX)


def test_a_list_that_is_missing_or_wrong_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.txt"):
        gather(WordlistOptions(lists=["none.txt"]), lambda name: tmp_path / name)
    (tmp_path / "short.txt").write_text("soup\na\n")
    with pytest.raises(ConfigurationError, match=r"short\.txt, line 2"):
        testkit.build(SPEC, {"lists": ["short.txt"]}, tmp_path)


def test_it_keeps_nothing(options: dict[str, list[str]]) -> None:
    assert testkit.growth_bytes(SPEC, b"soup " * 10_000, options=options) < 20_000
