"""Where the walk departs from asking everyone about everything: allow lists, and codings that nobody undid."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity
from icapd.scan.tree import EngineSet, examine
from tests.scan.walking import FAR, Brackets, ByFirstByte, Finder, reports, walk


def test_an_exact_allow_entry_for_the_body_ends_the_walk() -> None:
    allowed = Finding(FindingKind.ALLOWED, "ours", "list", certain=True)
    first = Finder("list", lambda sample, _: EngineReport("list", Outcome.FOUND, (allowed,)))
    second = Finder("second")
    got = walk(b"[evil]", first, second)
    assert (first.seen, second.seen) == ([()], [])
    assert (got["second"].outcome, got["brackets"].outcome) == (Outcome.SKIPPED, Outcome.SKIPPED)


def allows(data: bytes, *, certain: bool = True) -> Finder:
    """An allow list that names one content."""
    allowed = Finding(FindingKind.ALLOWED, "ours", "list", Severity.INFO, certain=certain)

    def look_up(sample: Sample, budget: Budget) -> EngineReport:
        is_listed = bytes(sample.data) == data
        return EngineReport("list", *(Outcome.FOUND, (allowed,)) if is_listed else (Outcome.NOTHING_FOUND,))

    return Finder("list", look_up)


def test_an_allow_entry_without_certainty_spares_nothing() -> None:
    second = Finder("second")
    got = walk(b"[a,evil]", allows(b"evil", certain=False), second)
    assert second.seen == [(), ("m0",), ("m1",)]
    assert [finding.trail for finding in got["second"].findings] == [(), ("m1",)]


def test_an_exact_allow_entry_spares_a_member_and_what_is_inside_it() -> None:
    first, last = Finder("first"), Finder("last")
    got = walk(b"[a,[evil],evil]", first, allows(b"[evil]"), last)
    assert first.seen == [(), ("m0",), ("m1",), ("m2",)]
    assert last.seen == [(), ("m0",), ("m2",)]
    assert [finding.trail for finding in got["first"].findings] == [(), ("m2",)]
    assert [finding.trail for finding in got["list"].findings] == [("m1",)]


def test_a_spared_member_clears_no_other_of_its_name() -> None:
    class Twins(Brackets):
        def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
            yield sample.member(b"evil but ours", "twin")
            yield sample.member(b"evil", "twin")

    got = walk(b"[]", Finder("first"), allows(b"evil but ours"), unpacker=Twins())
    assert [finding.trail for finding in got["first"].findings] == [("twin",)]


def test_what_an_engine_could_not_judge_in_a_spared_member_does_not_count() -> None:
    def unsure(sample: Sample, budget: Budget) -> EngineReport | None:
        return EngineReport("first", Outcome.UNSCANNABLE, reason="why") if sample.trail else None

    got = walk(b"[ours]", Finder("first", unsure), allows(b"ours"))
    assert (got["first"].outcome, got["first"].reason) == (Outcome.NOTHING_FOUND, "")


class TestCodings:
    def examined(self, coding: str, *unpackers: Brackets, body: bytes = b"packed") -> dict[str, EngineReport]:
        engines = EngineSet(ByFirstByte(), (Finder(),), unpackers)
        return reports(examine(Sample(body, coding=coding), engines, Budget(time.monotonic() + FAR)))

    @pytest.mark.parametrize("unpackers", [(), (Brackets(),)])
    def test_a_coding_that_nobody_undid_is_unsupported(self, unpackers: tuple[Brackets, ...]) -> None:
        got = self.examined("identity, GZ ip", *unpackers)["coding"]
        assert got.outcome is Outcome.UNSCANNABLE
        assert got.findings == (
            Finding(FindingKind.UNSUPPORTED, "unsupported:coding-gz_ip", "coding", Severity.MEDIUM),
        )

    def test_a_body_that_was_opened_is_accounted_for(self) -> None:
        assert "coding" not in self.examined("gzip", Brackets(), body=b"[a]")

    @pytest.mark.parametrize(("severity", "is_told"), [(Severity.INFO, True), (Severity.LOW, False)])
    def test_a_finding_accounts_for_it_when_it_counts(self, severity: Severity, is_told: bool) -> None:
        class Tells(Brackets):
            def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
                yield Finding(FindingKind.UNSUPPORTED, "not-opened:7z", "brackets", severity)

        assert ("coding" in self.examined("gzip", Tells(), body=b"[a]")) is is_told

    @pytest.mark.parametrize(("coding", "body"), [("", b"a"), ("identity, UTF-8", b"a"), ("gzip", b"")])
    def test_where_nothing_is_coded_nothing_is_told(self, coding: str, body: bytes) -> None:
        assert "coding" not in self.examined(coding, body=body)


def test_why_an_engine_skips_a_body_is_told() -> None:
    def only_text(sample: Sample, budget: Budget) -> EngineReport:
        if sample.data[:1] == b"a":
            return EngineReport("picky", Outcome.NOTHING_FOUND)
        return EngineReport("picky", Outcome.SKIPPED, reason="no text")

    alone = walk(b"soup", Finder("picky", only_text))["picky"]
    assert (alone.outcome, alone.reason) == (Outcome.SKIPPED, "no text")
    with_text_inside = walk(b"[a,soup]", Finder("picky", only_text))["picky"]
    assert (with_text_inside.outcome, with_text_inside.reason) == (Outcome.NOTHING_FOUND, "")
