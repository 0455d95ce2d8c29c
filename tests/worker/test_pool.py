"""The pool's promises on order, room and time, with real scanners: a job always ends, and as it should."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError

from icapd.errors import LethalBody, Overloaded, ScannerLost, ScanTimedOut
from icapd.scan.model import Outcome
from icapd.scan.tree import Examination
from tests.support.engines import order
from tests.support.gates import open_gate
from tests.support.reactor import wait_for, wait_until
from tests.support.tree import wait_gone
from tests.worker.conftest import Make
from tests.worker.scanners import GRACE_S, ScannerBench

LARGE_BYTES = 4096
MARGIN_S = 1.0
"""How late the pool may be on a busy machine; it looks every 0.05 s."""


def hold(bench: ScannerBench, gate: Path, name: str, filling_bytes: int = 0) -> None:
    """Keeps a scanner busy until the gate is there."""
    bench.submit(order("wait", gate, filling_bytes), name)


def test_findings_come_back(bench: ScannerBench) -> None:
    examination = bench.scan(order("find", "Some.Name"))
    [report] = examination.reports

    assert (report.engine, report.outcome) == ("puppet", Outcome.FOUND)
    assert [finding.name for finding in report.findings] == ["Some.Name"]
    assert bench.scan(b"ordinary").reports[0].outcome is Outcome.NOTHING_FOUND


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 3 * 1024 * 1024], ids=["inline", "past inline", "memfd"])
def test_bodies_of_all_sizes_arrive_whole(bench: ScannerBench, size: int) -> None:
    content = order("find", "x").ljust(size, b".")

    assert bench.scan(content).size_bytes == size
    wait_until(lambda: bench.spool.bodies == 0)


def test_no_engine_asked_is_none_that_answers(bench: ScannerBench) -> None:

    assert wait_for(bench.submit(order("find", "x"), engines=())).reports == ()


def test_a_client_with_one_body_does_not_wait_for_all_of_another(single: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    hold(single, gate, "first")
    for number in range(5):
        single.submit(order("find", number), f"many {number}", client="greedy")
    single.submit(order("find", "one"), "one", client="modest")
    open_gate(gate)
    wait_until(single.has_ended("one", *(f"many {number}" for number in range(5))))

    assert list(single.outcomes)[:3] == ["first", "many 0", "one"]


def test_where_all_is_full_the_greediest_client_gives_way(make: Make, tmp_path: Path) -> None:
    bench = make(count=1, queue_tasks=3)
    gate = tmp_path / "gate"
    hold(bench, gate, "running")
    for name in ("1", "2", "3"):
        bench.submit(order("find", name), name, client="greedy")
    bench.submit(order("find", "one"), "one", client="modest")
    assert [(name, type(outcome)) for name, outcome in bench.outcomes.items()] == [("3", Overloaded)]
    bench.submit(order("find", "two"), "two", client="modest")
    assert isinstance(bench.outcomes["two"], Overloaded)
    open_gate(gate)
    wait_until(bench.has_ended("running", "1", "2", "one"))

    assert dict(bench.counters.values()["icapd_scans_refused_total"]) == {("small",): 2}


def test_one_size_that_is_full_does_not_shut_out_the_other(make: Make, tmp_path: Path) -> None:
    bench = make(count=1, queue_tasks=2, large_bytes=LARGE_BYTES)
    gate = tmp_path / "gate"
    hold(bench, gate, "running")
    for name in ("1", "2"):
        bench.submit(order("find", name), name, client="greedy")
    bench.submit(order("find", "large", LARGE_BYTES), "large", client="modest")
    assert bench.outcomes == {}
    open_gate(gate)
    wait_until(bench.has_ended("running", "1", "2", "large"))


def test_small_bodies_are_served_in_order(single: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    hold(single, gate, "first")
    names = [f"{number}" for number in range(20)]
    for name in names:
        single.submit(order("find", name), name)
    assert (single.pool.running, single.pool.queued) == (1, 20)
    open_gate(gate)
    wait_until(single.has_ended("first", *names))

    assert list(single.outcomes) == ["first", *names]


def test_large_bodies_never_take_the_last_scanner(make: Make, tmp_path: Path) -> None:
    bench = make(count=3, large_bytes=LARGE_BYTES)
    gate = tmp_path / "gate"
    for name in ("large 1", "large 2", "large 3"):
        hold(bench, gate, name, LARGE_BYTES)
    assert (bench.pool.running, bench.pool.queued) == (2, 1)

    assert bench.found(order("find", "small")) == "small"
    open_gate(gate)
    wait_until(bench.has_ended("large 1", "large 2", "large 3"))
    assert all(isinstance(outcome, Examination) for outcome in bench.outcomes.values())


def test_a_body_one_byte_below_large_is_small(make: Make, tmp_path: Path) -> None:
    bench = make(count=2, large_bytes=LARGE_BYTES)
    gate = tmp_path / "gate"
    held = order("wait", gate)
    bench.submit(held.ljust(LARGE_BYTES - 1, b"."), "a")
    bench.submit(held.ljust(LARGE_BYTES - 2, b"."), "b")

    assert (bench.pool.running, bench.pool.queued) == (2, 0)
    open_gate(gate)
    wait_until(bench.has_ended("a", "b"))


def test_a_single_scanner_serves_large_bodies_too(make: Make) -> None:
    bench = make(count=1, large_bytes=LARGE_BYTES)

    assert bench.found(order("find", "large", LARGE_BYTES)) == "large"


def test_the_older_of_a_small_and_a_large_body_goes_first(make: Make, tmp_path: Path) -> None:
    bench = make(count=1, large_bytes=LARGE_BYTES)
    gate = tmp_path / "gate"
    hold(bench, gate, "first")
    bench.submit(order("find", "x", LARGE_BYTES), "large")
    bench.submit(order("find", "x"), "small")
    open_gate(gate)
    wait_until(bench.has_ended("large", "small"))

    assert list(bench.outcomes) == ["first", "large", "small"]


def test_the_queue_takes_its_limit_and_not_one_more(make: Make, tmp_path: Path) -> None:
    bench = make(count=1, queue_tasks=3)
    gate = tmp_path / "gate"
    hold(bench, gate, "running")
    for name in ("1", "2", "3"):
        bench.submit(order("find", name), name)
    assert bench.outcomes == {}
    bench.submit(order("find", "4"), "4")

    assert isinstance(bench.outcomes.pop("4"), Overloaded)
    open_gate(gate)
    wait_until(bench.has_ended("running", "1", "2", "3"))
    assert all(isinstance(outcome, Examination) for outcome in bench.outcomes.values())


@pytest.mark.parametrize("word", ["hang", "stop"])
def test_a_scanner_past_the_deadline_is_killed_and_replaced(make: Make, word: str) -> None:
    bench = make(count=1)
    [hanging] = bench.scanner_pids
    started = time.monotonic()
    with pytest.raises(ScanTimedOut):
        bench.scan(order(word), scan_s=0.5)
    took_s = time.monotonic() - started

    assert 0.5 <= took_s < 0.5 + MARGIN_S
    wait_gone([hanging])
    assert bench.found(order("pid")) == str(*bench.scanner_pids)
    assert dict(bench.counters.values()["icapd_scanner_deaths_total"]) == {("deadline",): 1}


def test_an_engine_that_minds_its_deadline_keeps_its_scanner(single: ScannerBench, tmp_path: Path) -> None:
    before = single.scanner_pids
    [report] = single.scan(order("wait", tmp_path / "never"), scan_s=2 * GRACE_S + MARGIN_S).reports

    assert report.outcome is Outcome.TIMED_OUT
    assert single.scanner_pids == before


def test_a_job_that_never_got_a_scanner_ends_in_time(single: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    hold(single, gate, "running")
    started = time.monotonic()
    with pytest.raises(ScanTimedOut):
        single.scan(order("find", "x"), scan_s=0.3)

    assert 0.3 <= time.monotonic() - started < 0.3 + MARGIN_S
    assert single.pool.queued == 0
    open_gate(gate)
    wait_until(single.has_ended("running"))


def test_a_cancelled_job_in_the_queue_is_never_run(single: ScannerBench, tmp_path: Path) -> None:
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    hold(single, gate, "running")
    cancelled = single.submit(order("wait", trace), scan_s=60)
    cancelled.cancel()
    with pytest.raises(CancelledError):
        wait_for(cancelled)
    open_gate(gate)

    # The one that waits for a file that never comes would keep the only scanner.
    assert single.found(order("find", "next")) == "next"
    assert single.spool.bodies == 0


@pytest.mark.parametrize("filling_bytes", [0, LARGE_BYTES], ids=["small", "large"])
def test_cancelled_jobs_deep_in_the_queue_make_room_at_once(make: Make, tmp_path: Path, filling_bytes: int) -> None:
    bench = make(count=1, queue_tasks=3, large_bytes=LARGE_BYTES)
    gate = tmp_path / "gate"
    hold(bench, gate, "running")
    bench.submit(order("find", "head", filling_bytes), "head")
    cancelled = [bench.submit(order("find", name, filling_bytes)) for name in ("1", "2")]
    assert (bench.pool.queued, bench.spool.bodies) == (3, 4)
    for deferred in cancelled:
        deferred.cancel()
        with pytest.raises(CancelledError):
            wait_for(deferred)
    assert (bench.pool.queued, bench.spool.bodies) == (1, 2)
    for name in ("3", "4"):
        bench.submit(order("find", name, filling_bytes), name)
    bench.submit(order("find", "5", filling_bytes), "5")

    assert isinstance(bench.outcomes.pop("5"), Overloaded)
    open_gate(gate)
    wait_until(bench.has_ended("running", "head", "3", "4"))
    assert list(bench.outcomes) == ["running", "head", "3", "4"]


def test_a_cancelled_job_that_runs_ends_unheard(single: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    before = single.scanner_pids
    cancelled = single.submit(order("wait", gate))
    cancelled.cancel()
    with pytest.raises(CancelledError):
        wait_for(cancelled)
    assert single.spool.bodies == 1  # the scanner may still look at it
    open_gate(gate)

    assert single.found(order("find", "next")) == "next"
    assert single.scanner_pids == before


@pytest.mark.parametrize("tasks", [1, 3])
def test_replacing_scanners_by_task_count_loses_nothing(make: Make, tasks: int) -> None:
    bench = make(tasks_before_restart=tasks)
    names = [str(number) for number in range(30)]
    for name in names:
        bench.submit(order("pid", name), name)
    wait_until(bench.has_ended(*names))
    served = [
        outcome.reports[0].findings[0].name for outcome in bench.outcomes.values() if isinstance(outcome, Examination)
    ]

    assert len(served) == len(names)
    assert max(served.count(pid) for pid in served) == tasks
    assert "icapd_scanner_deaths_total" not in bench.counters.values()


def test_stopping_ends_every_job(make: Make, tmp_path: Path) -> None:
    bench = make(count=1)
    hold(bench, tmp_path / "never", "running")
    bench.submit(order("find", "x"), "waiting")
    bench.pool.stop()

    assert [type(outcome) for outcome in bench.outcomes.values()] == [ScannerLost, ScannerLost]


def test_jobs_that_come_before_the_scanners_are_served(make: Make) -> None:
    bench = make(waits=False)
    assert not bench.pool.is_ready

    assert bench.found(order("find", "early")) == "early"
    wait_until(lambda: bench.pool.is_ready)


def test_no_descriptor_is_left_open(make: Make) -> None:
    bench = make(count=1, tasks_before_restart=2)
    large = order("find", "x").ljust(200 * 1024, b".")
    bench.scan(large)
    wait_until(lambda: bench.pool.is_ready)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        bench.scan(large)
        with pytest.raises(LethalBody):
            bench.scan(order("exit", 0))

    wait_until(lambda: bench.pool.is_ready and len(os.listdir("/proc/self/fd")) == before)
