"""Remote engines beside the scanners: times, doubts, probes, and what becomes of both sides' reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred

from icapd.cache.flight import SingleFlight
from icapd.cache.memcached import Reactor as CacheReactor
from icapd.cache.tiers import VerdictCache
from icapd.config.schema import Cache
from icapd.errors import LethalBody, Overloaded, ScanError, ScanTimedOut
from icapd.scan.engine_api import RemoteBody, RemoteFailed
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, Severity, Verdict
from icapd.scan.pipeline import Examined, Judging, Pipeline
from icapd.scan.remote import ABSENT, AGAIN_S, DOUBT_S
from tests.scan.afar import (
    CONTENT,
    FOUND,
    KEY,
    NAME,
    NOTHING,
    OPTIONS,
    TRIALS,
    Scene,
    local,
    report_of,
    results,
    said,
)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.remotes.stop()
    assert not scene.afar.is_started
    assert scene.spool.bodies == 0
    assert scene.clock.getDelayedCalls() == []


# Both sides' reports


def test_the_report_waits_for_both_and_is_remembered(scene: Scene) -> None:
    examining = scene.examine()
    waiting = results(examining)
    scene.clock.advance(1)
    scene.near.running[0].callback(local(EngineReport("yara", Outcome.NOTHING_FOUND)))
    assert waiting == []
    scene.clock.advance(0.5)
    scene.afar.scans[0].callback(NOTHING)
    report = cast(Examined, waiting[0]).report
    assert [(each.engine, each.elapsed_s) for each in report.reports] == [(NAME, 1.5), ("yara", 0.0)]
    assert report.verdict is Verdict.CLEAN
    assert scene.pipeline.recall(KEY) == (report, "memory")


def test_what_the_remote_engine_finds_waits_for_the_scanners(scene: Scene) -> None:
    """The body may be on the operator's list of allowed ones, and only they know."""
    waiting = results(scene.examine())
    scene.afar.scans[0].callback(FOUND)
    assert waiting == []
    allowed = Finding(FindingKind.ALLOWED, "allowed", "hashes", certain=True)
    scene.near.running[0].callback(local(EngineReport("hashes", Outcome.FOUND, (allowed,))))
    assert cast(Examined, waiting[0]).report.verdict is Verdict.CLEAN


def test_what_the_remote_engine_finds_is_the_verdict(scene: Scene) -> None:
    examining = scene.examine()
    scene.afar.scans[0].callback(FOUND)
    scene.near.running[0].callback(local())
    assert said(report_of(examining)) == (Verdict.MALICIOUS, Outcome.FOUND, "")


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (Finding(FindingKind.MALWARE, "Here", "yara"), Verdict.MALICIOUS),
        (Finding(FindingKind.ALLOWED, "allowed", "hashes", certain=True), Verdict.CLEAN),
    ],
)
def test_what_settles_it_is_not_waited_for(scene: Scene, finding: Finding, verdict: Verdict) -> None:
    examining = scene.examine()
    scene.near.running[0].callback(local(EngineReport(finding.engine, Outcome.FOUND, (finding,))))
    report = report_of(examining)
    assert said(report)[:2] == (verdict, Outcome.SKIPPED)
    assert scene.afar.cancelled == 1
    assert scene.pipeline.recall(KEY) == (report, "memory")


@pytest.mark.parametrize("kind", [FindingKind.SUSPICIOUS, FindingKind.LIMIT, FindingKind.FORBIDDEN])
def test_what_settles_nothing_is_waited_for(scene: Scene, kind: FindingKind) -> None:
    examining = scene.examine()
    scene.near.running[0].callback(local(EngineReport("yara", Outcome.FOUND, (Finding(kind, "x", "yara"),))))
    scene.afar.scans[0].callback(FOUND)
    assert said(report_of(examining)) == (Verdict.MALICIOUS, Outcome.FOUND, "")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ScanTimedOut("late"), Verdict.ERROR),
        (Overloaded("full"), Verdict.ERROR),
        (LethalBody("twice"), Verdict.UNSCANNABLE),
    ],
)
def test_scanners_that_fail_do_not_hide_what_was_found(scene: Scene, error: ScanError, verdict: Verdict) -> None:
    for report, expected in ((NOTHING, verdict), (FOUND, Verdict.MALICIOUS)):
        examining = scene.examine()
        scene.near.running[-1].errback(error)
        scene.afar.scans[-1].callback(report)
        assert report_of(examining).verdict is expected
        assert scene.pipeline.recall(KEY) is None


def test_scanners_that_fail_do_not_hide_that_a_required_engine_failed_too(scene: Scene) -> None:
    examining = scene.examine()
    scene.near.running[0].errback(LethalBody("twice"))
    scene.afar.scans[0].errback(RemoteFailed("broken"))
    assert report_of(examining).verdict is Verdict.ERROR


def test_a_client_that_leaves_takes_both_with_it(scene: Scene) -> None:
    examining = scene.examine()
    examining.addErrback(lambda failure: failure.trap(CancelledError) and None)
    examining.cancel()
    assert scene.afar.cancelled == 1
    assert scene.near.running[0].called


def test_a_service_without_it_does_not_ask_it(scene: Scene) -> None:
    scene.judging = Judging("ruleset", ("yara",), frozenset())
    examining = scene.examine()
    scene.near.running[0].callback(local())
    assert report_of(examining).verdict is Verdict.CLEAN
    assert scene.afar.scans == []


# Failures


@pytest.mark.parametrize(("required", "verdict"), [(True, Verdict.ERROR), (False, Verdict.CLEAN)])
def test_a_failure_counts_if_it_is_required_and_is_not_remembered(required: bool, verdict: Verdict) -> None:
    scene = Scene(required=required)
    examining = scene.examine()
    scene.near.running[0].callback(local())
    scene.afar.scans[0].errback(RemoteFailed("broken"))
    report = report_of(examining)
    assert said(report) == (verdict, Outcome.FAILED, "broken")
    assert [finding.name for finding in report.findings] == [f"failed:{NAME}"]
    assert scene.pipeline.recall(KEY) is None
    scene.remotes.stop()


def test_the_engine_s_own_time(scene: Scene) -> None:
    examining = scene.examine()
    scene.near.running[0].callback(local())
    scene.pass_time(DOUBT_S)
    scene.afar.probes[0].callback("version")
    scene.pass_time(OPTIONS.timeout_s - DOUBT_S - 0.125)
    assert not examining.called
    scene.pass_time(0.125)
    assert said(report_of(examining))[:2] == (Verdict.ERROR, Outcome.TIMED_OUT)
    assert scene.afar.cancelled == 1


def test_the_scan_s_deadline_comes_first(scene: Scene) -> None:
    scene.pipeline = Pipeline(
        VerdictCache(Cache(), b"", cast(CacheReactor, scene.clock)),
        SingleFlight(),
        scene.near,
        scene.counters,
        1.5,
        0.5,
        scene.clock.seconds,
        scene.remotes,
    )
    examining = scene.examine()
    scene.near.running[0].callback(local())
    scene.pass_time(0.875)
    assert not examining.called
    scene.pass_time(0.125)
    assert said(report_of(examining))[1] is Outcome.TIMED_OUT


def test_whatever_an_engine_raises_is_a_failed_report_and_ours_to_hear_of(scene: Scene) -> None:
    examining = scene.examine()
    scene.near.running[0].callback(local())
    scene.afar.scans[0].errback(ZeroDivisionError("oops"))
    assert said(report_of(examining)) == (Verdict.ERROR, Outcome.FAILED, f"{NAME}: ZeroDivisionError: oops")
    assert dict(scene.counters.values()["icapd_internal_errors_total"]) == {(): 1}
    assert scene.afar.probes == []


def test_a_stop_in_mid_scan_is_a_failure_and_no_clean_verdict(scene: Scene) -> None:
    examining = scene.examine()
    scene.near.running[0].callback(local())
    scene.remotes.stop()
    assert said(report_of(examining)) == (Verdict.ERROR, Outcome.FAILED, ABSENT)


# Doubts and probes


def test_bodies_that_fail_never_switch_an_engine_off_while_probes_are_answered(scene: Scene) -> None:
    for number in range(10 * TRIALS):
        examining = scene.examine()
        scene.near.running[number].callback(local())
        scene.afar.scans[number].errback(RemoteFailed("this body kills the connection"))
        scene.afar.probes[number].callback("version")
        assert report_of(examining).verdict is Verdict.ERROR
    assert not scene.watched.is_left_alone


def test_a_slow_scan_has_the_server_probed_once(scene: Scene) -> None:
    examining = scene.examine()
    scene.pass_time(DOUBT_S - 0.125)
    assert scene.afar.probes == []
    scene.pass_time(0.125)
    scene.afar.probes[0].callback("version")
    scene.pass_time(5)
    assert len(scene.afar.probes) == 1
    scene.afar.scans[0].callback(NOTHING)
    scene.near.running[0].callback(local())
    assert report_of(examining).verdict is Verdict.CLEAN


def test_many_doubts_are_one_probe(scene: Scene) -> None:
    examining = [scene.examine() for _ in range(3)]  # one flight
    scans = [Deferred.fromCoroutine(scene.watched.scan(cast(RemoteBody, Shown()), 9)) for _ in range(3)]
    for asked in scene.afar.scans:
        asked.errback(RemoteFailed("gone"))
    assert len(scene.afar.probes) == 1
    scene.afar.probes[0].callback("version")
    scene.near.running[0].callback(local())
    assert all(each.called for each in examining)
    assert all(each.called for each in scans)


class Shown:
    """A body without a pipeline."""

    def read(self, offset: int, size_bytes: int) -> bytes:
        return CONTENT


def test_left_alone_after_probes_that_fail_in_a_row_and_asked_again_after_one_that_does_not(scene: Scene) -> None:
    waiting = scene.examine()
    scene.near.running[0].callback(local())
    scene.pass_time(DOUBT_S)
    for number in range(TRIALS):
        assert not scene.watched.is_left_alone
        assert not waiting.called
        scene.afar.probes[number].errback(RemoteFailed("gone"))
        if number + 1 < TRIALS:
            scene.pass_time(AGAIN_S)
    assert scene.watched.is_left_alone
    assert said(report_of(waiting)) == (Verdict.ERROR, Outcome.FAILED, ABSENT)

    at_once = scene.examine()
    scene.near.running[1].callback(local())
    assert said(report_of(at_once)) == (Verdict.ERROR, Outcome.FAILED, ABSENT)
    assert len(scene.afar.scans) == 1

    scene.pass_time(OPTIONS.retry_s)
    scene.afar.probes[TRIALS].errback(RemoteFailed("still gone"))
    assert scene.watched.is_left_alone
    scene.pass_time(OPTIONS.retry_s)
    scene.afar.probes[TRIALS + 1].callback("version")
    assert not scene.watched.is_left_alone
    again = scene.examine()
    scene.near.running[2].callback(local())
    scene.afar.scans[1].callback(NOTHING)
    assert report_of(again).verdict is Verdict.CLEAN
    states = [line for line in scene.lines if b"remote-engine-state" in line]
    assert [b"left alone" in line for line in states] == [True, False]


def test_an_answered_probe_between_two_failed_ones_starts_the_count_anew(scene: Scene) -> None:
    for number in range(2 * TRIALS):
        examining = scene.examine()
        scene.near.running[number].callback(local())
        scene.afar.scans[number].errback(RemoteFailed("broken"))
        assert examining.called
        scene.afar.probes[-1].errback(RemoteFailed("gone"))
        scene.pass_time(AGAIN_S)
        scene.afar.probes[-1].callback("version")
    assert not scene.watched.is_left_alone


def test_a_probe_has_its_time(scene: Scene) -> None:
    waiting = scene.examine()
    scene.near.running[0].callback(local())
    scene.pass_time(DOUBT_S + TRIALS * (OPTIONS.connect_timeout_s + AGAIN_S) + 0.5)
    assert scene.watched.is_left_alone
    assert said(report_of(waiting))[2] == ABSENT


def test_scans_are_counted_by_outcome(scene: Scene) -> None:
    scene.examine()
    scene.afar.scans[0].callback(FOUND)
    scene.near.running[0].callback(local())
    counted = {labels[:2] for labels, _ in scene.counters.values()["icapd_remote_scan_seconds"]}
    assert counted == {(NAME, Outcome.FOUND)}


def test_what_one_more_of_an_engine_says_bears_its_own_name(scene: Scene) -> None:
    """The engine itself knows only what it is, not what its table is called."""
    examining = scene.examine()
    finding = Finding(FindingKind.MALWARE, "Evil", "icap", Severity.CRITICAL)
    scene.afar.scans[0].callback(EngineReport("icap", Outcome.FOUND, (finding,)))
    scene.near.running[0].callback(local())
    report = report_of(examining)
    assert report.verdict is Verdict.MALICIOUS
    assert [(each.engine, each.findings[0].engine) for each in report.reports if each.findings] == [(NAME, NAME)]
