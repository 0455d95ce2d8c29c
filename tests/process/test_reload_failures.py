"""Reloads of which a part fails: a process, a descriptor, the time. The old rules judge on, or the new ones do, in
every front alike; it is told and counted, and the next reload works."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.reloading import Rules, found, hang_up, reload, wait_for_event
from tests.process.servers import front_pids, trees, wait_ready
from tests.support.icapd import Icapd
from tests.support.process import wait_until
from tests.support.tree import children, kill, runs_with

TWO_THAT_MAY_HANG = {
    "server": {"fronts": 2},
    "scanners": {"count": 4},
    "timeouts": {"front_silent_s": 600, "reload_s": 600},
}


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    return Rules(tmp_path / "rules")


@pytest.fixture
def server(serve: Serve, rules: Rules) -> Icapd:
    return rules.serve(serve)


def failures(server: Icapd) -> tuple[float, float]:
    """How many reloads failed, and whether the last one was good."""
    failed = server.metric("icapd_reloads_total", result="failed")
    return failed, server.metric("icapd_last_reload_successful")


def test_a_front_that_cannot_prepare(server: Icapd, rules: Rules) -> None:
    """It has no descriptor left for the rules, nor for a nursery."""
    old, [front] = found(server), front_pids(server)
    soft, hard = resource.prlimit(front, resource.RLIMIT_NOFILE)
    resource.prlimit(front, resource.RLIMIT_NOFILE, (3, hard))
    rules.write("second")
    ended = reload(server)
    resource.prlimit(front, resource.RLIMIT_NOFILE, (soft, hard))

    assert ended.result == "failed"
    assert [where for where, _ in ended.problems] == ["reload"]
    wait_for_event(server, "reload-failed")
    assert failures(server) == (1, 0)
    assert found(server, b" again") == old
    assert reload(server).result == "reloaded"
    assert failures(server) == (1, 1)
    assert found(server, b" by now")[1] == "second"
    assert front_pids(server) == [front]


def test_a_front_that_dies_between_its_word_and_the_change(server: Icapd, rules: Rules) -> None:
    """The supervisor reads that it is prepared, and that it is dead, at once: the next front has the new rules."""
    [front] = front_pids(server)
    rules.write("second")
    hang_up(server)
    wait_until(lambda: len(children(front)) == 2, "it prepares")
    os.kill(server.child.pid, signal.SIGSTOP)
    wait_until(lambda: all(len(children(nursery)) == 2 for nursery in children(front)), "it has all scanners")
    kill(front)
    os.kill(server.child.pid, signal.SIGCONT)
    wait_for_event(server, "reloaded")
    wait_ready(server)

    assert found(server)[1] == "second"
    assert server.metric("icapd_front_deaths_total") == 1
    assert failures(server) == (0, 1)


def test_a_front_that_dies_amid_a_reload(serve: Serve, rules: Rules) -> None:
    """It comes back and prepares like the others: all change, or none does."""
    server = rules.serve(serve, TWO_THAT_MAY_HANG)
    victim, other = front_pids(server)
    os.kill(other, signal.SIGSTOP)  # it cannot say that it is prepared, so that nothing is committed
    try:
        rules.write("second")
        hang_up(server)
        wait_until(lambda: len(children(victim)) == 2, "the other front prepares")
        kill(victim)
        wait_until(lambda: front_pids(server) != [other], "it is replaced")
    finally:
        os.kill(other, signal.SIGCONT)
    wait_for_event(server, "reloaded")
    wait_ready(server)

    assert {found(server, b"%d" % number)[1] for number in range(12)} == {"second"}
    assert server.metric("icapd_front_deaths_total") == 1
    trees(server, 2)


def kill_when_it_prepares(pid: int) -> None:
    wait_until(lambda: len(children(pid)) == 2, "it has a second nursery")
    kill(pid)


def test_fronts_that_die_again_and_again_end_a_reload(serve: Serve, rules: Rules) -> None:
    server = rules.serve(serve, TWO_THAT_MAY_HANG)
    old = found(server)
    stopped = front_pids(server)[0]
    os.kill(stopped, signal.SIGSTOP)
    rules.write("second")
    hang_up(server)
    for _ in range(2):
        wait_until(lambda: len(front_pids(server)) == 2, "both are there")
        kill_when_it_prepares(next(pid for pid in front_pids(server) if pid != stopped))
    wait_for_event(server, "reload-failed")
    os.kill(stopped, signal.SIGCONT)
    trees(server, 2)

    assert {found(server, b"%d" % number) for number in range(12)} == {old}
    assert reload(server).result == "reloaded"


def test_a_reload_that_takes_too_long(serve: Serve, rules: Rules) -> None:
    for reload_s in (3, 40):  # a machine with other things to do may take three seconds to read the files
        server = rules.serve(serve, {"timeouts": {"reload_s": reload_s, "front_silent_s": 600}})
        [front], old = front_pids(server), found(server)
        rules.write(f"after_{reload_s}")
        os.kill(front, signal.SIGSTOP)
        hang_up(server)
        wait_for_event(server, "reload-failed")
        os.kill(front, signal.SIGCONT)
        trees(server)
        assert found(server, b" again") == old
        if "is over while reading the files" not in server.child.output():
            break

    assert "is over while waiting for the fronts [0]" in server.child.output()


def test_a_candidate_that_dies(server: Icapd, rules: Rules) -> None:
    old = found(server)
    rules.write("second")
    hang_up(server)

    def candidates() -> Iterator[int]:
        return (pid for pid in children(server.child.pid) if runs_with(pid, "icapd.worker.candidate"))

    wait_until(lambda: any(candidates()), "the candidate")
    for pid in candidates():
        kill(pid)
    wait_for_event(server, "reload-failed")

    assert "reading and trying the rules ended with signal 9" in server.child.output()
    assert found(server, b" again") == old
    assert reload(server).result == "reloaded"
