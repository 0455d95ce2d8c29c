"""No descriptors, no processes: what could not be started is tried again, and the scanners are back afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from icapd.scan.tree import EngineSet
from icapd.worker.frames import Exited, Spawn, decode_from_nursery, encode
from icapd.worker.nursery import Nursery
from icapd.worker.packets import packet_pair, receive
from icapd.worker.sandbox import Confinement, Sandbox
from tests.support.engines import order
from tests.support.reactor import wait_until
from tests.support.tree import is_alive, wait_gone
from tests.worker.scanners import ScannerBench


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process gets none beyond its standard ones; those it has stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def events(bench: ScannerBench, name: str) -> list[dict[str, Any]]:
    decoded = [msgspec.json.decode(line, type=dict[str, Any]) for line in bench.events]
    return [event for event in decoded if event["event"] == name]


def test_scanners_come_back_when_there_are_descriptors_again(bench: ScannerBench) -> None:
    bench.events.clear()
    before = bench.scanner_pids
    with no_descriptors():
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(events(bench, "scanner-not-started")) >= 2)
    assert bench.pool.alive == 0
    assert "Too many open files" in events(bench, "scanner-not-started")[0]["reason"]

    bench.settle()
    assert not set(bench.scanner_pids) & set(before)
    assert bench.found(order("find", "afterwards")) == "afterwards"


def test_a_nursery_comes_back_when_there_are_descriptors_again(single: ScannerBench) -> None:
    single.events.clear()
    before = single.nursery_pid
    with no_descriptors():
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: len(events(single, "nursery-lost")) >= 2)
    assert "Too many open files" in events(single, "nursery-lost")[1]["error"]

    single.settle()
    assert single.nursery_pid != before
    assert single.found(order("find", "afterwards")) == "afterwards"


def test_a_scanner_that_nobody_could_kill_does_not_stay(single: ScannerBench) -> None:
    """Its pidfd does not arrive where there is no room for it."""
    nursery, [before] = single.nursery_pid, single.scanner_pids
    single.events.clear()
    os.kill(nursery, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: single.pool.alive == 1 and not single.pool.is_ready)
    with no_descriptors():
        os.kill(nursery, signal.SIGCONT)
        wait_until(lambda: len(events(single, "scanner-lost")) == 2)

    single.settle()
    assert single.found(order("find", "afterwards")) == "afterwards"


class _Forked:
    """A nursery in a process of its own, with forks and pidfds that fail when told."""

    def __init__(self, failing: str) -> None:
        self.control, theirs = packet_pair()
        self.pid = os.fork()
        if self.pid == 0:
            self.control.close()
            self._be_nursery(theirs, failing)
        theirs.close()

    @staticmethod
    def _be_nursery(control: socket.socket, failing: str) -> None:
        def fail(*_: object) -> int:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        try:
            sandbox = Sandbox(Confinement(1 << 30, sandbox=True, user="nobody"))
            setattr(os, failing, fail)
            Nursery(control, EngineSet(None, (), (), {}, frozenset()), sandbox).run()
        finally:
            os._exit(0)

    def spawn(self, slot: int) -> socket.socket:
        ours, theirs = packet_pair()
        with theirs:
            socket.send_fds(self.control, [encode(Spawn(slot))], [theirs.fileno()])
        return ours


@pytest.mark.parametrize("failing", ["fork", "pidfd_open"])
def test_a_nursery_survives_what_it_cannot_start(failing: str) -> None:
    nursery = _Forked(failing)
    with nursery.control:
        for slot in (1, 2):
            with nursery.spawn(slot) as end:
                assert end.recv(1) == b""
                packet, descriptors = receive(nursery.control)
                message = decode_from_nursery(packet)
                assert isinstance(message, Exited)
                assert (message.slot, descriptors) == (slot, [])
        assert is_alive(nursery.pid)
    os.waitpid(nursery.pid, 0)
    wait_gone([nursery.pid])
