"""What the kit for tests of engines says of engines that behave, and of those that do not."""

from __future__ import annotations

import time

import pytest

from engines import testkit
from engines.archive import SPEC as ARCHIVE
from engines.hashes import SPEC as HASHES
from engines.testkit import MARK, Crashes, Finds, Leaks, Sleeps, Splits, spec_of
from icapd.errors import LimitReached
from icapd.scan.engine_api import EngineOptions, EngineSpec
from icapd.scan.model import Budget, EngineReport, Identity, Outcome, Sample
from tests.engines.samples import zip_of


def test_what_is_found_is_reported() -> None:
    report = testkit.scan(spec_of(Finds()), b"an " + MARK + b" body")
    assert (report.outcome, [finding.name for finding in report.findings]) == (Outcome.FOUND, ["Test.Finds"])
    assert testkit.scan(spec_of(Finds()), b"a good body").outcome is Outcome.NOTHING_FOUND


def test_an_engine_that_minds_its_budget_times_out() -> None:
    started = time.monotonic()
    report = testkit.scan(spec_of(Sleeps(30)), b"x", timeout_s=0.05)
    assert report.outcome is Outcome.TIMED_OUT
    assert time.monotonic() - started < 10


def test_one_that_does_not_mind_it_is_not_stopped_here() -> None:
    report = testkit.scan(spec_of(Sleeps(0.1, minds_budget=False)), MARK, timeout_s=0.01)
    assert report.outcome is Outcome.FOUND
    assert report.elapsed_s >= 0.1


def test_what_is_raised_is_a_failure() -> None:
    report = testkit.scan(spec_of(Crashes()), MARK)
    assert (report.outcome, report.reason) == (Outcome.FAILED, "RuntimeError: crashed as told")
    assert testkit.scan(spec_of(Crashes()), b"x").outcome is Outcome.NOTHING_FOUND
    limit = testkit.scan(spec_of(Crashes(LimitReached("test.limit"))), MARK)
    assert [finding.name for finding in limit.findings] == ["test.limit"]


def test_a_leak_shows() -> None:
    body = bytes(10_000)
    assert testkit.growth_bytes(spec_of(Leaks()), body, scans=20) > 20 * len(body) * 0.9
    assert testkit.growth_bytes(spec_of(Finds()), body, scans=20) < len(body)


def test_members_are_seen_and_named() -> None:
    assert testkit.members(spec_of(Splits()), b"a|b|") == {"0": b"a", "1": b"b", "2": b""}
    assert testkit.members(spec_of(Splits()), b"ab") == {}
    archive = zip_of({"a.txt": b"x" * 90})
    assert testkit.members(ARCHIVE, archive, identity=Identity("application/zip", "archive")) == {"a.txt": b"x" * 90}
    with pytest.raises(TypeError, match="Finds opens nothing"):
        testkit.members(spec_of(Finds()), b"")


def test_options_and_identity_reach_the_engine() -> None:
    class Notes(Finds):
        def scan(self, sample: Sample, budget: Budget) -> EngineReport:
            return EngineReport(self.name, Outcome.NOTHING_FOUND, reason=f"{self.name} {sample.identity.media_type}")

    spec = EngineSpec(
        "notes 3.5",
        EngineOptions,
        lambda options, resolve: {},
        lambda options, material: Notes(f"notes {options.timeout_s}"),
        lambda: "1",
    )
    report = testkit.scan(spec, b"x", options={"timeout_s": 3.5}, identity=Identity("test/x", "data"))
    assert report.reason == "notes 3.5 test/x"


def test_what_is_no_engine_is_refused() -> None:
    spec = EngineSpec("x", EngineOptions, lambda options, resolve: {}, lambda options, material: 42, lambda: "1")
    with pytest.raises(TypeError, match="int is no engine"):
        testkit.scan(spec, b"x")
    assert testkit.scan(HASHES, b"x").outcome is Outcome.SKIPPED
