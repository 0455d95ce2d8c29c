"""From a body to its report: remembered, shared or scanned; with real scanners, cache and flights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from icapd.cache.flight import SingleFlight
from icapd.cache.memcached import Reactor as CacheReactor
from icapd.cache.tiers import VerdictCache
from icapd.config.schema import Cache, SpoolTable
from icapd.errors import LethalBody, Overloaded, ScanError, ScannerLost, ScanTimedOut
from icapd.observe.metrics import Counters
from icapd.scan.model import CacheKey, FindingKind, Identity, ScanReport, Verdict
from icapd.scan.pipeline import Examined, Judging, Pipeline, failure_report, in_context, refusal
from icapd.scan.spool import Body, Spool
from icapd.scan.tree import Examination
from tests.support.engines import NAME, engines_path, order
from tests.support.gates import open_gate
from tests.support.reactor import reactor, wait_for, wait_until
from tests.support.scans import HeldScans
from tests.worker.scanners import ScannerBench

ALL = Judging("ruleset", None, frozenset({NAME}))


class Scene:
    """A pipeline over a bench of scanners."""

    def __init__(self, bench: ScannerBench, scan_s: float = 10.0) -> None:
        self.bench = bench
        self.counters = Counters()
        self.flights: SingleFlight[Examined] = SingleFlight()
        self.cache = VerdictCache(Cache(), os.urandom(32), cast(CacheReactor, reactor))
        self.pipeline = Pipeline(self.cache, self.flights, bench.pool, self.counters, scan_s, 0.2)

    def examine(self, content: bytes, judging: Judging = ALL) -> Deferred[Examined]:
        body = self.bench.spool.open(1 << 40)
        body.append(content)
        deferred = self.pipeline.examine(key_of(content, judging), body, judging, "client")
        body.release()
        return deferred

    def examined(self, content: bytes, judging: Judging = ALL) -> Examined:
        return wait_for(self.examine(content, judging))


def key_of(content: bytes, judging: Judging = ALL) -> CacheKey:
    return CacheKey(hashlib.sha256(content).digest(), len(content), judging.ruleset)


def names(examined: Examined) -> tuple[Verdict, str, list[str]]:
    report = examined.report
    return report.verdict, examined.source, [finding.name for finding in report.findings]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, ScannerBench]]:
    """One with two scanners, one with a single scanner and a queue of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", engines_path(tmp_path_factory.mktemp("installed")))
        made = {2: ScannerBench(count=2), 1: ScannerBench(count=1, queue_tasks=1)}
        yield made
        for bench in made.values():
            bench.stop()


@pytest.fixture
def scene(benches: dict[int, ScannerBench]) -> Scene:
    benches[2].settle()
    return Scene(benches[2])


def test_a_scan_is_remembered(scene: Scene) -> None:
    content = order("find", "Evil")
    assert scene.pipeline.recall(key_of(content)) is None
    examined = scene.examined(content)
    assert names(examined) == (Verdict.MALICIOUS, "miss", ["Evil"])
    assert examined.report.size_bytes == len(content)
    assert scene.pipeline.recall(key_of(content)) == (examined.report, "memory")
    assert names(scene.examined(b"harmless")) == (Verdict.CLEAN, "miss", [])
    assert len(scene.flights) == 0


@pytest.mark.parametrize(
    ("content", "verdict", "name"),
    [
        (order("abort"), Verdict.UNSCANNABLE, "scanners-lost"),
        (order("segv"), Verdict.UNSCANNABLE, "scanners-lost"),
        (order("stop"), Verdict.ERROR, "scan-timed-out"),
    ],
)
def test_a_scan_that_ends_without_a_report_is_not_remembered(
    benches: dict[int, ScannerBench], content: bytes, verdict: Verdict, name: str
) -> None:
    benches[2].settle()
    scene = Scene(benches[2], scan_s=0.5)
    assert names(scene.examined(content)) == (verdict, "miss", [name])
    assert scene.pipeline.recall(key_of(content)) is None


def test_an_engine_that_minds_its_deadline_costs_no_scanner(benches: dict[int, ScannerBench], tmp_path: Path) -> None:
    benches[2].settle()
    before = benches[2].scanner_pids
    scene = Scene(benches[2], scan_s=0.5)
    content = order("wait", tmp_path / "never")
    report = scene.examined(content).report
    assert (report.verdict, {finding.kind for finding in report.findings}) == (Verdict.ERROR, {FindingKind.TIMEOUT})
    assert scene.pipeline.recall(key_of(content)) is None
    assert benches[2].scanner_pids == before


def test_past_the_queue_the_outcome_is_overload(benches: dict[int, ScannerBench], tmp_path: Path) -> None:
    benches[1].settle()
    scene, gate = Scene(benches[1]), tmp_path / "gate"
    held = [scene.examine(order("wait", gate, filling)) for filling in (1, 2)]
    assert names(scene.examined(order("wait", gate, 3))) == (Verdict.ERROR, "miss", ["scan-queue-full"])
    open_gate(gate)
    assert [names(wait_for(each)) for each in held] == [(Verdict.CLEAN, "miss", [])] * 2
    assert scene.examined(order("wait", gate, 3)).report.verdict is Verdict.CLEAN


def test_identical_bodies_in_flight_share_a_scan(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    content = order("wait", gate)
    waiting = [scene.examine(content) for _ in range(3)]
    other = scene.examine(content, Judging("another ruleset", None, ALL.required))
    wait_until(lambda: scene.bench.pool.running == 2)
    open_gate(gate)
    assert [wait_for(each).source for each in (*waiting, other)] == ["miss", "shared", "shared", "miss"]
    assert sum(n for labels, n in scene.counters.values()["icapd_scan_seconds"] if labels[-1] != "sum") == 2


def test_who_leaves_takes_nothing_from_the_others(scene: Scene, tmp_path: Path) -> None:
    """The one that began the scan goes away, and its body with it, as far as it is concerned."""
    gate = tmp_path / "gate"
    content = order("wait", gate, 2 * 1024 * 1024)
    first, second = scene.examine(content), scene.examine(content)
    first.cancel()
    with pytest.raises(CancelledError):
        wait_for(first)
    assert scene.bench.spool.bodies == 1
    open_gate(gate)
    assert names(wait_for(second)) == (Verdict.CLEAN, "shared", [])
    assert (scene.bench.spool.bodies, scene.bench.spool.memory_bytes) == (0, 0)


class Slow(HeldScans):
    """Notes when each would be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.kill_at: list[float] = []

    def submit(
        self,
        key: CacheKey,
        engines: tuple[str, ...] | None,
        body: Body,
        client: str,
        deadline: float,
        kill_at: float,
    ) -> Deferred[Examination]:
        assert body.content() == b"shared"
        self.kill_at.append(kill_at)
        return super().submit(key, engines, body, client, deadline, kill_at)


class Shared:
    """Identical bodies that come one after another while the first is scanned; `now` is the pipeline's clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.scans = Slow()
        self.pipeline = Pipeline(Elsewhere(None), SingleFlight(), self.scans, Counters(), 10.0, 0.5, lambda: self.now)

    def examine(self) -> Deferred[Examined]:
        body = Spool(SpoolTable()).open(100)
        body.append(b"shared")
        return self.pipeline.examine(key_of(b"shared"), body, ALL, "client")


def test_who_joins_a_scan_that_is_too_late_has_its_own_deadline() -> None:
    shared = Shared()
    first = shared.examine()
    shared.now = 107.0
    second = shared.examine()
    shared.now = 110.0
    shared.scans.running[0].errback(ScanTimedOut("late"))
    assert names(wait_for(first)) == (Verdict.ERROR, "miss", ["scan-timed-out"])
    assert shared.scans.kill_at == [110.0, 117.0]
    shared.scans.running[1].errback(ScanTimedOut("late, too"))  # and there is no third try
    assert names(wait_for(second)) == (Verdict.ERROR, "miss", ["scan-timed-out"])
    assert shared.scans.kill_at == [110.0, 117.0]


@pytest.mark.parametrize(("joined_at", "scans"), [(100.5, 1), (100.6, 2)])
def test_a_second_try_needs_time_that_engines_can_use(joined_at: float, scans: int) -> None:
    shared = Shared()
    shared.examine()
    shared.now = joined_at
    joined = shared.examine()
    shared.now = 110.0
    shared.scans.running[0].errback(ScanTimedOut("late"))
    assert (joined.called, len(shared.scans.kill_at)) == (scans == 1, scans)


@pytest.mark.parametrize("error", [ScannerLost("crash"), Overloaded("full")])
def test_other_failures_are_shared_as_they_are(error: ScanError) -> None:
    shared = Shared()
    shared.examine()
    shared.now = 107.0
    joined = shared.examine()
    shared.scans.running[0].errback(error)
    assert (wait_for(joined).source, len(shared.scans.kill_at)) == ("shared", 1)


def test_when_all_leave_a_queued_scan_is_dropped(benches: dict[int, ScannerBench], tmp_path: Path) -> None:
    benches[1].settle()
    scene, gate = Scene(benches[1]), tmp_path / "gate"
    running, queued = scene.examine(order("wait", gate, 1)), scene.examine(order("wait", gate, 2))
    queued.cancel()
    with pytest.raises(CancelledError):
        wait_for(queued)
    wait_until(lambda: scene.bench.spool.bodies == 1)
    open_gate(gate)
    assert wait_for(running).report.verdict is Verdict.CLEAN


def test_a_required_engine_that_did_not_look_makes_an_error(scene: Scene) -> None:
    judging = Judging("needs more", None, frozenset({NAME, "absent"}))
    report = scene.examined(b"harmless, it seems", judging).report
    assert (report.verdict, scene.pipeline.recall(key_of(b"harmless, it seems", judging))) == (Verdict.ERROR, None)


def test_only_chosen_engines_look(scene: Scene) -> None:
    judging = Judging("nobody", (), frozenset())
    assert scene.examined(order("find", "Evil"), judging).report.verdict is not Verdict.MALICIOUS


class Elsewhere:
    """What another node remembers."""

    is_shared = True

    def __init__(self, report: ScanReport | None) -> None:
        self._report = report
        self.remembered: list[ScanReport] = []

    def recall(self, key: CacheKey) -> None:
        return None

    async def fetch(self, key: CacheKey) -> ScanReport | None:
        return self._report

    def remember(self, key: CacheKey, report: ScanReport) -> None:
        self.remembered.append(report)


class Recorder:
    """Takes scans, and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, float, float]] = []

    def submit(
        self,
        key: CacheKey,
        engines: tuple[str, ...] | None,
        body: Body,
        client: str,
        deadline: float,
        kill_at: float,
    ) -> Deferred[Examination]:
        self.told.append((engines, deadline, kill_at))
        return succeed(Examination(size_bytes=key.size_bytes))


@pytest.mark.parametrize("stored", [ScanReport(Verdict.CLEAN), ScanReport(Verdict.MALICIOUS), None])
def test_what_another_node_found_is_not_scanned_again(stored: ScanReport | None) -> None:
    memory, scans = Elsewhere(stored), Recorder()
    pipeline = Pipeline(memory, SingleFlight(), scans, Counters(), 10, 1)
    body = Spool(SpoolTable()).open(10)
    examined = wait_for(pipeline.examine(key_of(b""), body, Judging("r", None, frozenset()), "client"))
    if stored is None:
        assert (examined.source, len(scans.told), memory.remembered) == ("miss", 1, [examined.report])
    else:
        assert (examined, scans.told, memory.remembered) == (Examined(stored, "memcached"), [], [])


@pytest.mark.parametrize(
    ("scan_s", "grace_s", "deadline"), [(10.0, 1.0, 109.0), (10.0, 0.0, 110.0), (1.0, 60.0, 100.5)]
)
def test_engines_are_told_an_earlier_deadline_than_their_killer(
    scan_s: float, grace_s: float, deadline: float
) -> None:
    scans = Recorder()
    pipeline = Pipeline(Elsewhere(None), SingleFlight(), scans, Counters(), scan_s, grace_s, lambda: 100.0)
    body = Spool(SpoolTable()).open(10)
    wait_for(pipeline.examine(key_of(b""), body, Judging("r", ("yara",), frozenset()), "client"))
    assert scans.told == [(("yara",), deadline, 100.0 + scan_s)]


@pytest.mark.parametrize(
    ("error", "verdict", "kind", "name"),
    [
        (LethalBody("x"), Verdict.UNSCANNABLE, FindingKind.LIMIT, "scanners-lost"),
        (Overloaded("x"), Verdict.ERROR, FindingKind.OVERLOAD, "scan-queue-full"),
        (ScanTimedOut("x"), Verdict.ERROR, FindingKind.TIMEOUT, "scan-timed-out"),
        (ScannerLost("x"), Verdict.ERROR, FindingKind.FAILED, "scanner-lost"),
        (ScanError("x"), Verdict.ERROR, FindingKind.FAILED, "scanner-lost"),
    ],
)
def test_each_failure_has_its_name(error: ScanError, verdict: Verdict, kind: FindingKind, name: str) -> None:
    report = failure_report(error, 7)
    [finding] = report.findings
    assert (report.verdict, report.size_bytes, finding.kind, finding.name) == (verdict, 7, kind, name)


def test_a_mismatch_is_seen_by_who_declared_it_alone() -> None:
    program = ScanReport(
        Verdict.CLEAN, identity=Identity("application/vnd.microsoft.portable-executable", "executable")
    )
    assert in_context(program, "", "") is program
    seen = in_context(program, "image/png", "png")
    assert (seen.verdict, [finding.kind for finding in seen.findings]) == (
        Verdict.SUSPICIOUS,
        [FindingKind.TYPE_MISMATCH],
    )
    assert program.findings == ()
    refused = refusal(Verdict.UNSCANNABLE, FindingKind.LIMIT, "max_body_bytes", 5)
    assert in_context(refused, "image/png", "png").verdict is Verdict.UNSCANNABLE
