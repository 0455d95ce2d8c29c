from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from icapd.errors import DeadlineReached, LimitReached
from icapd.scan.model import (
    Budget,
    EngineReport,
    Finding,
    FindingKind,
    Outcome,
    Sample,
    Severity,
)
from icapd.scan.tree import FINDINGS_OF_ONE_ENGINE, FINDINGS_OF_ONE_NAME, EngineSet, examine
from tests.scan.walking import FAR, Brackets, ByFirstByte, Finder, reports, spend, walk


def test_every_engine_sees_every_member_depth_first() -> None:
    finder = Finder()
    got = walk(b"[a,[b,c],d]", finder)
    assert finder.seen == [(), ("m0",), ("m2",), ("m2", "m0"), ("m2", "m1"), ("m3",)]
    assert {name: report.outcome for name, report in got.items()} == {
        "identify": Outcome.NOTHING_FOUND,
        "finder": Outcome.NOTHING_FOUND,
        "brackets": Outcome.NOTHING_FOUND,
    }


def test_findings_carry_the_trail_of_their_member() -> None:
    got = walk(b"[a,[b,evil]]", Finder())["finder"]
    assert got.outcome is Outcome.FOUND
    assert [finding.trail for finding in got.findings] == [(), ("m2",), ("m2", "m1")]


def test_the_examination_knows_the_body() -> None:
    examination = examine(
        Sample(b"[a]"), EngineSet(ByFirstByte(), (Finder(),), (Brackets(),)), Budget(time.monotonic() + FAR)
    )
    assert examination.identity.media_type == "test/["
    assert examination.size_bytes == 3
    assert examination.elapsed_s > 0


def test_without_an_identifier_there_is_no_report_of_one() -> None:
    examination = examine(Sample(b"a"), EngineSet(engines=(Finder(),)), Budget(time.monotonic() + FAR))
    assert list(reports(examination)) == ["finder"]
    assert examination.identity.family == "unknown"


def test_a_decoded_body_is_the_body() -> None:
    class Decodes(Brackets):
        def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
            yield Sample(b"evil", sample.name, sample.trail)

    body = Sample(b"[x]", name="page")
    examination = examine(body, EngineSet(ByFirstByte(), (Finder(),), (Decodes(),)), Budget(time.monotonic() + FAR))
    assert examination.identity.media_type == "test/e"
    assert examination.size_bytes == 3
    assert reports(examination)["finder"].findings[0].trail == ()


def test_an_engine_that_raises_has_failed_and_the_others_go_on() -> None:
    def fall(sample: Sample, budget: Budget) -> None:
        raise RuntimeError("x" * 500)

    second = Finder("second")
    got = walk(b"[a,evil]", Finder("first", fall), second)
    assert got["first"].outcome is Outcome.FAILED
    assert got["first"].reason == ("RuntimeError: " + "x" * 500)[:200]
    assert got["second"].outcome is Outcome.FOUND
    assert len(second.seen) == 3


def test_a_failure_on_one_member_keeps_what_others_gave() -> None:
    def fall(sample: Sample, budget: Budget) -> None:
        if sample.name == "m0":
            raise ValueError

    got = walk(b"[a,evil]", Finder(act=fall))["finder"]
    assert got.outcome is Outcome.FAILED
    assert [finding.trail for finding in got.findings] == [(), ("m1",)]


def test_the_outcome_that_leaves_most_unjudged_stands() -> None:
    def unscannable(sample: Sample, budget: Budget) -> EngineReport | None:
        return EngineReport("finder", Outcome.UNSCANNABLE, reason="why") if sample.name == "m1" else None

    got = walk(b"[evil,b,c]", Finder(act=unscannable))["finder"]
    assert (got.outcome, got.reason) == (Outcome.UNSCANNABLE, "why")
    assert got.findings


def test_an_identifier_that_raises_has_failed_and_engines_still_run() -> None:
    got = walk(b"!evil", Finder())
    assert got["identify"].outcome is Outcome.FAILED
    assert got["finder"].outcome is Outcome.FOUND


def test_an_unpacker_that_raises_has_failed_and_its_members_count() -> None:
    got = walk(b"[evil]", Finder(), unpacker=Brackets(KeyError("lost")))
    assert (got["brackets"].outcome, got["brackets"].reason) == (Outcome.FAILED, "KeyError: 'lost'")
    assert got["finder"].findings[-1].trail == ("m0",)


def test_an_unpacker_that_cannot_tell_whether_it_opens_has_failed() -> None:
    class Falls(Brackets):
        def opens(self, sample: Sample) -> bool:
            raise OSError("broken")

    assert walk(b"[a]", unpacker=Falls())["brackets"].outcome is Outcome.FAILED


def test_a_limit_makes_its_unpacker_unscannable() -> None:
    got = walk(b"[evil]", Finder(), unpacker=Brackets(LimitReached("archive.max_members")))
    assert got["brackets"].outcome is Outcome.UNSCANNABLE
    (finding,) = got["brackets"].findings
    assert (finding.kind, finding.name, finding.engine) == (FindingKind.LIMIT, "archive.max_members", "brackets")
    assert got["finder"].outcome is Outcome.FOUND


def test_what_an_unpacker_says_counts_by_severity() -> None:
    for severity, outcome in ((Severity.INFO, Outcome.FOUND), (Severity.MEDIUM, Outcome.UNSCANNABLE)):
        ending = Finding(FindingKind.UNSUPPORTED, "not-opened:7z", "brackets", severity)
        assert walk(b"[a]", unpacker=Brackets(ending))["brackets"].outcome is outcome


def test_depth_at_the_limit_and_past_it() -> None:
    budget = Budget(time.monotonic() + FAR, depth_left=3)
    assert walk(b"[[[evil]]]", Finder(), budget=budget)["brackets"].outcome is Outcome.NOTHING_FOUND
    assert budget.depth_left == 3
    finder = Finder()
    got = walk(b"[[[[evil]]]]", finder, budget=budget)["brackets"]
    assert [(finding.name, finding.trail) for finding in got.findings] == [("archive.max_depth", ("m0", "m0", "m0"))]
    assert len(finder.seen) == 4


def test_members_at_the_limit_and_past_it() -> None:
    def budget() -> Budget:
        return Budget(time.monotonic() + FAR, members_left=3)

    assert walk(b"[a,[b]]", budget=budget())["brackets"].outcome is Outcome.NOTHING_FOUND
    got = walk(b"[a,[b,c]]", budget=budget())["brackets"]
    assert [(finding.name, finding.trail) for finding in got.findings] == [("archive.max_members", ("m2",))]


def test_a_container_that_holds_itself_ends_at_the_depth() -> None:
    class Quine(Brackets):
        def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
            budget.take_member()
            yield sample.member(sample.data, "self")

    finder = Finder()
    got = walk(b"[a]", finder, unpacker=Quine())
    assert len(finder.seen) == 9
    assert got["brackets"].findings[0].name == "archive.max_depth"


def test_the_ratio_of_the_whole_tree_ends_the_walk() -> None:
    class Grows(Brackets):
        def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
            for number in range(100):
                budget.take_bytes(1000)
                yield sample.member(b"x", str(number))

    for floor, seen in ((99_999, 101), (9_999, 11)):
        finder = Finder()
        budget = Budget(time.monotonic() + FAR, ratio_floor_bytes=floor, ratio_max=2)
        got = walk(b"[a]", finder, unpacker=Grows(), budget=budget)
        assert len(finder.seen) == seen
        assert [finding.name for finding in got["brackets"].findings] == ["archive.max_ratio"]


def test_an_engine_past_its_own_time_is_out_and_the_others_go_on() -> None:
    def slow(sample: Sample, budget: Budget) -> None:
        if sample.name == "m1":
            spend(budget)

    first, second = Finder("first", slow), Finder("second")
    budget = Budget(time.monotonic() + FAR)
    deadline = budget.deadline
    got = walk(b"[evil,b,c]", first, second, budget=budget, first=0.02)
    assert got["first"].outcome is Outcome.TIMED_OUT
    assert [finding.trail for finding in got["first"].findings] == [(), ("m0",)]
    assert len(first.seen) == 3
    assert got["second"].outcome is Outcome.FOUND
    assert len(second.seen) == 4
    assert budget.deadline == deadline


def test_the_time_of_an_engine_adds_up_over_members() -> None:
    def slow(sample: Sample, budget: Budget) -> None:
        until = time.monotonic() + 0.01
        while time.monotonic() < until:
            budget.check_time()

    finder = Finder(act=slow)
    got = walk(b"[" + b",".join([b"a"] * 50) + b"]", finder, finder=0.035)["finder"]
    assert got.outcome is Outcome.TIMED_OUT
    assert 3 <= len(finder.seen) <= 4


def test_an_unpacker_past_its_own_time_is_out() -> None:
    class Slow(Brackets):
        def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
            yield sample.member(b"evil", "m0")
            spend(budget)

    got = walk(b"[a]", Finder(), unpacker=Slow(), brackets=0.02)
    assert got["brackets"].outcome is Outcome.TIMED_OUT
    assert got["finder"].outcome is Outcome.FOUND


@pytest.mark.parametrize("body", [b"[evil,b]", b"[[evil],b]"])
def test_at_the_deadline_no_engine_has_finished_and_findings_stay(body: bytes) -> None:
    def slow(sample: Sample, budget: Budget) -> None:
        if sample.data == b"b":
            spend(budget)

    got = walk(body, Finder("first"), Finder("second", slow), budget=Budget(time.monotonic() + 0.05))
    assert {report.outcome for name, report in got.items() if name != "brackets"} >= {Outcome.TIMED_OUT}
    assert got["second"].outcome is Outcome.TIMED_OUT
    assert got["first"].findings


def test_an_engine_that_saw_a_body_without_members_has_finished() -> None:
    got = walk(
        b"b",
        Finder("first"),
        Finder("second", lambda _, budget: spend(budget)),
        budget=Budget(time.monotonic() + 0.02),
    )
    assert got["first"].outcome is Outcome.NOTHING_FOUND
    assert got["second"].outcome is Outcome.TIMED_OUT
    assert got["brackets"].outcome is Outcome.NOTHING_FOUND


def test_with_no_time_at_all_every_engine_timed_out() -> None:
    finder = Finder()
    got = walk(b"[a]", finder, budget=Budget(time.monotonic() - 1))
    assert finder.seen == []
    assert {got[name].outcome for name in ("finder", "brackets")} == {Outcome.TIMED_OUT}


def test_deadline_reached_inside_an_engine_is_never_an_error_of_ours() -> None:
    def late(sample: Sample, budget: Budget) -> None:
        raise DeadlineReached

    assert walk(b"a", Finder(act=late))["finder"].outcome is Outcome.TIMED_OUT


def test_findings_of_one_name_and_of_one_engine_have_ceilings() -> None:
    def many(sample: Sample, budget: Budget) -> EngineReport:
        found = [Finding(FindingKind.INFO, "same", "finder", Severity.INFO)] * (FINDINGS_OF_ONE_NAME + 1)
        found += [Finding(FindingKind.INFO, f"i{n}", "finder", Severity.INFO) for n in range(FINDINGS_OF_ONE_ENGINE)]
        found += [Finding(FindingKind.MALWARE, "Late", "finder")]
        return EngineReport("finder", Outcome.FOUND, tuple(found))

    found = walk(b"a", Finder(act=many))["finder"].findings
    assert len(found) == FINDINGS_OF_ONE_ENGINE
    assert sum(finding.name == "same" for finding in found) <= FINDINGS_OF_ONE_NAME
    assert "Late" in {finding.name for finding in found}


def test_a_service_chooses_engines_but_always_identifies() -> None:
    engines = EngineSet(
        ByFirstByte(), (Finder("a"), Finder("b")), (Brackets(),), required=frozenset({"identify", "a", "brackets"})
    )
    chosen = engines.only(("a",))
    assert [engine.name for engine in chosen.engines] == ["a"]
    assert chosen.unpackers == ()
    assert chosen.required == {"identify", "a"}
    assert chosen.identifier is engines.identifier


def test_the_budget_comes_from_the_unpacker_that_has_limits() -> None:
    class Limits(Brackets):
        def budget(self, deadline: float) -> Budget:
            return Budget(deadline, members_left=7)

    assert EngineSet(unpackers=(Brackets(), Limits())).budget(5.0) == Budget(5.0, members_left=7)
    assert EngineSet(unpackers=(Brackets(),)).budget(5.0) == Budget(5.0)
