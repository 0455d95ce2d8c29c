"""Accidents of scanners and nurseries: the job has one more turn, and ends as it should; the next one works."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import msgspec
import pytest
from twisted.internet.defer import CancelledError

from engines.yara import SPEC as YARA
from engines.yara import YaraOptions
from icapd.errors import LethalBody, ScannerLost, ScanTimedOut
from icapd.scan.model import Outcome
from icapd.scan.tree import Examination
from tests.engines.slow_content import SLOW_CONTENT, SLOW_RULE
from tests.support.engines import NAME, order
from tests.support.gates import open_gate
from tests.support.reactor import wait_for, wait_until
from tests.support.tree import is_alive, kill, wait_gone
from tests.worker.conftest import Make
from tests.worker.scanners import MEMORY_BYTES, ScannerBench, puppet_snapshot


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def deaths(bench: ScannerBench) -> dict[tuple[str, ...], float]:
    return dict(bench.counters.values().get("icapd_scanner_deaths_total", []))


def test_a_crash_ends_its_job_alone(make: Make, tmp_path: Path) -> None:
    bench = make()
    for number, (word, argument) in enumerate(
        [("abort", ""), ("segv", ""), ("exit", 0), ("exit", 3), ("leave", "")], 1
    ):
        gate = tmp_path / f"gate {number}"
        bench.submit(order("wait", gate), f"beside {number}")
        before = set(bench.scanner_pids)
        with pytest.raises(LethalBody):
            bench.scan(order(word, argument))
        open_gate(gate)
        wait_until(bench.has_ended(f"beside {number}"))
        wait_until(lambda: bench.pool.is_ready and len(bench.scanner_pids) == 2)

        assert isinstance(bench.outcomes[f"beside {number}"], Examination)
        assert len(before & set(bench.scanner_pids)) == 1  # the one that is busy beside
        assert dict(bench.counters.values()["icapd_scan_retries_total"]) == {(): number}
        wait_until(lambda: deaths(bench) == {("crash",): 2 * number})  # noqa: B023 - called in this turn
    assert bench.found(order("find", "afterwards")) == "afterwards"


def test_a_crash_beside_a_living_scanner_leaves_the_pool_ready(make: Make, tmp_path: Path) -> None:
    bench = make(count=3)
    bench.submit(order("wait", tmp_path / "never"), "beside")
    seen: list[bool] = []
    crash = bench.submit(order("abort"))
    crash.addErrback(lambda _: seen.append(bench.pool.is_ready))
    wait_until(lambda: seen)

    assert seen == [True]


def test_a_body_whose_scanner_is_killed_is_scanned_by_another(bench: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    before = bench.counters.values().get("icapd_scan_retries_total", [])
    bench.submit(order("wait", gate), "unlucky")
    for pid in bench.scanner_pids:
        kill(pid)
    wait_until(lambda: bench.counters.values().get("icapd_scan_retries_total", []) != before)
    open_gate(gate)
    wait_until(bench.has_ended("unlucky"))

    assert isinstance(bench.outcomes["unlucky"], Examination)


def test_one_that_is_tried_again_keeps_nobody_from_being_served(single: ScannerBench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    single.submit(order("wait", gate), "unlucky")
    for name in ("1", "2"):
        single.submit(order("find", name), name)
    [pid] = single.scanner_pids
    kill(pid)
    open_gate(gate)
    wait_until(single.has_ended("unlucky", "1", "2"))

    assert all(isinstance(outcome, Examination) for outcome in single.outcomes.values())


def test_a_body_nobody_waits_for_has_no_second_turn(single: ScannerBench, tmp_path: Path) -> None:
    abandoned = single.submit(order("wait", tmp_path / "never"))
    abandoned.addErrback(lambda failure: failure.trap(CancelledError))
    [pid] = single.scanner_pids
    before = single.counters.values().get("icapd_scan_retries_total")
    abandoned.cancel()
    kill(pid)
    assert single.found(order("find", "next")) == "next"

    assert single.counters.values().get("icapd_scan_retries_total") == before
    wait_until(lambda: single.spool.bodies == 0)


def test_a_second_turn_ends_with_the_deadline_of_the_first(single: ScannerBench) -> None:
    started = time.monotonic()
    hanging = single.submit(order("hang"), scan_s=1.0)
    [pid] = single.scanner_pids
    kill(pid)
    with pytest.raises(ScanTimedOut):
        wait_for(hanging)

    assert 1.0 <= time.monotonic() - started < 2.0


def test_jobs_behind_a_crash_are_served_by_the_next_scanner(single: ScannerBench) -> None:
    single.submit(order("abort"), "crash")
    names = [str(number) for number in range(5)]
    for name in names:
        single.submit(order("find", name), name)
    wait_until(single.has_ended("crash", *names))

    assert isinstance(single.outcomes["crash"], LethalBody)
    assert all(isinstance(single.outcomes[name], Examination) for name in names)


def test_an_idle_scanner_that_is_killed_is_replaced(bench: ScannerBench) -> None:
    for pid in bench.scanner_pids:
        kill(pid)
    wait_until(lambda: bench.pool.is_ready and len(bench.scanner_pids) == 2)

    assert bench.found(order("find", "afterwards")) == "afterwards"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("raise", "RuntimeError: what"),
        ("none", "AttributeError"),
        ("wrong-outcome", "KeyError"),
        ("wrong-name", "TypeError"),
        ("object", "TypeError"),
        ("surrogate", "UnicodeEncodeError"),
    ],
)
def test_an_engine_that_fails_costs_no_scanner(bench: ScannerBench, word: str, reason: str) -> None:
    before = bench.scanner_pids
    [report] = bench.scan(order(word, "what")).reports

    assert report.outcome is Outcome.FAILED
    assert reason in report.reason
    assert bench.scanner_pids == before


def test_an_answer_that_makes_no_sense_ends_the_scanner(single: ScannerBench) -> None:
    [before] = single.scanner_pids
    with pytest.raises(LethalBody, match="no sense"):
        single.scan(order("wrong-kind"))
    wait_gone([before])

    assert single.found(order("find", "afterwards")) == "afterwards"


def test_without_a_sandbox_a_scanner_can_still_not_write_a_byte(make: Make, tmp_path: Path) -> None:
    single = make(count=1, sandbox=False)
    before = single.scanner_pids
    path = tmp_path / "dropped"
    [report] = single.scan(order("write", path)).reports

    assert report.outcome is Outcome.FAILED
    assert "File too large" in report.reason
    assert path.stat().st_size == 0
    assert single.scanner_pids == before


def test_a_scanner_cannot_gain_privileges_or_leave_a_core(bench: ScannerBench) -> None:
    for pid in bench.scanner_pids:
        assert "NoNewPrivs:\t1\n" in Path(f"/proc/{pid}/status").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        for name in ("core file size", "file size", "locked memory", "msgqueue size"):
            assert re.search(rf"^Max {name} +0 +0 ", limits, re.MULTILINE)


def test_memory_has_a_limit(single: ScannerBench) -> None:
    [pid] = single.scanner_pids
    [report] = single.scan(order("eat")).reports

    assert (report.outcome, report.reason) == (Outcome.FAILED, "MemoryError: ")
    assert single.found(order("find", "afterwards")) == "afterwards"
    assert single.scanner_pids == [pid]


def test_an_engine_that_eats_on_is_kept_small_and_killed(single: ScannerBench) -> None:
    [pid] = single.scanner_pids
    usual_bytes = resident_bytes(single.nursery_pid)
    largest_bytes = 0
    eating = single.submit(order("eat-and-hang"), "eating", scan_s=1.0)

    def has_ended() -> bool:
        nonlocal largest_bytes
        if is_alive(pid):
            largest_bytes = max(largest_bytes, resident_bytes(pid))
        return "eating" in single.outcomes

    wait_until(has_ended)
    assert isinstance(single.outcomes["eating"], ScanTimedOut)
    assert eating.called
    assert MEMORY_BYTES / 2 < largest_bytes - usual_bytes < MEMORY_BYTES * 1.5
    wait_gone([pid])


def test_scanners_end_with_their_nursery_and_a_new_one_comes(bench: ScannerBench, tmp_path: Path) -> None:
    nursery, scanners = bench.nursery_pid, bench.scanner_pids
    gate = tmp_path / "gate"
    bench.submit(order("wait", gate), "running")
    os.kill(nursery, signal.SIGKILL)
    wait_gone([nursery, *scanners])
    open_gate(gate)
    wait_until(bench.has_ended("running"))

    assert isinstance(bench.outcomes["running"], Examination)
    bench.settle()
    assert bench.found(order("find", "later")) == "later"
    assert bench.nursery_pid != nursery
    assert not set(bench.scanner_pids) & set(scanners)


def test_a_nursery_that_dies_while_it_builds_is_replaced(make: Make) -> None:
    bench = make(waits=False)
    early = bench.submit(order("find", "early"))
    wait_until(lambda: bench.nursery_pids)  # until then it is a fork of ours without a name of its own
    os.kill(bench.nursery_pid, signal.SIGKILL)

    assert wait_for(early).reports[0].findings[0].name == "early"


def test_a_nursery_that_stands_still_stops_no_deadline(single: ScannerBench) -> None:
    nursery, [scanner] = single.nursery_pid, single.scanner_pids
    os.kill(nursery, signal.SIGSTOP)
    with pytest.raises(ScanTimedOut):
        single.scan(order("hang"), scan_s=0.3)
    wait_gone([scanner])
    os.kill(nursery, signal.SIGCONT)

    assert single.found(order("find", "afterwards")) == "afterwards"


def test_scanners_and_nurseries_do_not_mind_a_terminals_signals(bench: ScannerBench) -> None:
    pids = [bench.nursery_pid, *bench.scanner_pids]
    for pid in pids:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)

    assert bench.found(order("find", "afterwards")) == "afterwards"
    assert [bench.nursery_pid, *bench.scanner_pids] == pids


def test_a_scanner_holds_no_descriptor_of_its_nursery(bench: ScannerBench) -> None:
    """Nobody else may look into its descriptors, so it has to tell itself."""
    kinds = bench.found(order("descriptors")).split()

    assert kinds[:3] == ["device", "device", "device"]
    assert kinds[3:] == ["socket"]


def test_stopping_leaves_no_process(make: Make) -> None:
    bench = make()
    pids = [bench.nursery_pid, *bench.scanner_pids]
    bench.submit(order("hang"), "running")
    bench.pool.stop()
    wait_until(lambda: not any(map(is_alive, pids)))

    assert isinstance(bench.outcomes["running"], ScannerLost)


def test_rules_of_another_engine_version_are_refused(make: Make) -> None:
    built = puppet_snapshot()
    older = msgspec.structs.replace(built.engines[0], version="0")
    bench = make(snapshot=msgspec.structs.replace(built, engines=(older,)), waits=False)
    wait_until(lambda: bench.problems)

    assert [problem.where for problem in bench.problems] == [f"engines.{NAME}"]
    wait_until(lambda: not bench.nursery_pids)


def test_time_limits_of_yara_x_fire_in_every_scanner(make: Make, tmp_path: Path) -> None:
    """They do not when the nursery has matched anything before it forked."""
    rules = tmp_path / "slow.yar"
    rules.write_text(SLOW_RULE)
    options = YaraOptions(rules=[str(rules)], backend="yara-x", timeout_s=2)
    bench = make(count=2, snapshot=puppet_snapshot(yara=(YARA, options)))
    before = bench.scanner_pids
    started = time.monotonic()
    for name in ("one", "other"):
        bench.submit(SLOW_CONTENT + name.encode(), name)
    wait_until(bench.has_ended("one", "other"))

    assert time.monotonic() - started < 5
    for outcome in bench.outcomes.values():
        assert isinstance(outcome, Examination)
        assert {report.engine: report.outcome for report in outcome.reports}["yara"] is Outcome.TIMED_OUT
    assert bench.scanner_pids == before


def test_a_nursery_that_forks_nothing_any_more_is_replaced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icapd.worker.pool._SPAWN_S", 0.3)
    bench = make(count=1)
    nursery, [scanner] = bench.nursery_pid, bench.scanner_pids
    os.kill(nursery, signal.SIGSTOP)
    kill(scanner)

    assert bench.found(order("find", "afterwards")) == "afterwards"
    assert bench.nursery_pid != nursery


def test_deadlines_that_end_sooner_do_not_hide_a_nursery_that_hangs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icapd.worker.pool._SPAWN_S", 1.0)
    bench = make(count=1)
    nursery, [scanner] = bench.nursery_pid, bench.scanner_pids
    os.kill(nursery, signal.SIGSTOP)
    kill(scanner)
    started = time.monotonic()
    while is_alive(nursery) and time.monotonic() < started + 5:
        bench.submit(order("find", "x"), "given up", scan_s=0.3)
        wait_until(bench.has_ended("given up"))
        del bench.outcomes["given up"]

    assert not is_alive(nursery)
    assert bench.found(order("find", "afterwards")) == "afterwards"


def test_a_nursery_that_hangs_while_it_loads_is_replaced(make: Make) -> None:
    bench = make(count=1, waits=False)
    wait_until(lambda: bench.nursery_pids)
    hanging = bench.nursery_pid
    os.kill(hanging, signal.SIGSTOP)
    bench.nursery.on_hanging()

    assert bench.found(order("find", "afterwards")) == "afterwards"
    assert bench.nursery_pid != hanging


def test_stopping_ends_a_nursery_that_hangs(make: Make) -> None:
    bench = make()
    pids = [bench.nursery_pid, *bench.scanner_pids]
    os.kill(bench.nursery_pid, signal.SIGSTOP)
    bench.pool.stop()
    wait_until(lambda: not any(map(is_alive, pids)))


def test_stopping_leaves_no_descriptor(make: Make) -> None:
    before = len(os.listdir("/proc/self/fd"))
    bench = make()
    bench.pool.stop()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)  # the bench's own copy of the rules
