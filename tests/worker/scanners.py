"""The pool with its real nursery and scanners, as a front has them, in the tests' reactor."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.process import reapAllProcesses
from twisted.internet.task import LoopingCall

from icapd.config.schema import Scanners, SpoolTable
from icapd.errors import Problem
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.plugins import RulesetSnapshot, gather_snapshot
from icapd.reactor import Reactor
from icapd.scan.engine_api import EngineOptions, EngineSpec
from icapd.scan.model import CacheKey
from icapd.scan.spool import Spool
from icapd.scan.tree import Examination
from icapd.worker.nursing import NurseryProcess
from icapd.worker.pool import ScannerPool
from icapd.worker.rules import make_rules
from icapd.worker.sandbox import Confinement, encode_confinement
from tests.support.engines import NAME, SPEC
from tests.support.reactor import reactor, wait_for, wait_until
from tests.support.tree import children, is_alive, runs_with

SCAN_S = 10.0
GRACE_S = 0.2
MEMORY_BYTES = 64 * 1024 * 1024

_numbers = itertools.count()


class ScannerBench:
    """A pool whose scanners hold the puppet engine, and more where asked.

    State: `outcomes`, what each named submission ended with, in the order of the ends; `problems` of a failed build.
    """

    def __init__(
        self,
        *,
        count: int = 2,
        snapshot: RulesetSnapshot | None = None,
        waits: bool = True,
        **settings: Any,
    ) -> None:
        # Each bench's own number, by which its nursery is told from those of others.
        self.settings = Scanners(memory_bytes=MEMORY_BYTES + next(_numbers), **settings)
        self._confinement = Confinement.of(self.settings, SpoolTable().directory)
        self.counters = Counters()
        self.spool = Spool(SpoolTable())
        self.events: list[bytes] = []
        self.outcomes: dict[str, Examination | Exception] = {}
        self.problems: list[Problem] = []
        self._snapshot_fd = make_rules(snapshot or puppet_snapshot())
        log = EventLog("debug", self.events.append, "test")
        running = cast(Reactor, reactor)
        self.nursery = NurseryProcess(running, self._snapshot_fd, self._confinement, log, self.problems.extend)
        self.pool = ScannerPool(running, self.settings, count, self.nursery, self.counters, log)
        # The tests' reactor leaves the process's signal handlers alone, so nobody else tells of ended children.
        self._reaper = LoopingCall(reapAllProcesses)
        self._reaper.start(0.01)
        self.pool.start()
        self._count = count
        if waits:
            self.settle()

    def settle(self) -> None:
        """Waits until every scanner is there and idle; forgets earlier outcomes."""
        wait_until(lambda: self.pool.is_ready and self.pool.alive == self._count == len(self.scanner_pids))
        wait_until(lambda: self.pool.running == self.pool.queued == 0)
        self.outcomes.clear()

    def submit(
        self,
        content: bytes,
        name: str = "",
        scan_s: float = SCAN_S,
        engines: tuple[str, ...] | None = None,
        client: str = "client",
    ) -> Deferred[Examination]:
        """Has a body examined; the outcome is also noted under `name`."""
        body = self.spool.open(1 << 40)
        body.append(content)
        key = CacheKey(hashlib.sha256(content).digest(), len(content), "ruleset")
        kill_at = time.monotonic() + scan_s
        deferred = self.pool.submit(key, engines, body, client, kill_at - GRACE_S, kill_at)
        body.release()
        if name:
            deferred.addBoth(self._note, name)
        return deferred

    def _note(self, outcome: Any, name: str) -> None:
        self.outcomes[name] = getattr(outcome, "value", outcome)

    def scan(self, content: bytes, scan_s: float = SCAN_S) -> Examination:
        """The examination of one body. Raises: what the scan ended with."""
        return wait_for(self.submit(content, scan_s=scan_s))

    def found(self, content: bytes) -> str:
        """The name of the one finding."""
        [finding] = self.scan(content).reports[0].findings
        return finding.name

    @property
    def nursery_pid(self) -> int:
        """The one that lives. Raises: ValueError when there is none."""
        [pid] = self.nursery_pids
        return pid

    @property
    def nursery_pids(self) -> list[int]:
        wanted = ["icapd.worker.nursery", encode_confinement(self._confinement).decode()]
        return [pid for pid in children(os.getpid()) if runs_with(pid, *wanted)]

    @property
    def scanner_pids(self) -> list[int]:
        return [pid for nursery in self.nursery_pids for pid in children(nursery)]

    def has_ended(self, *names: str) -> Callable[[], bool]:
        return lambda: set(names) <= self.outcomes.keys()

    def stop(self) -> None:
        """Ends all, and sees that nothing is left."""
        pids = [each for pid in self.nursery_pids for each in (pid, *children(pid))]
        self.pool.stop()
        wait_until(lambda: not any(map(is_alive, pids)))
        self._reaper.stop()
        os.close(self._snapshot_fd)
        assert (self.spool.bodies, self.spool.memory_bytes, self.spool.disk_bytes) == (0, 0, 0)


def puppet_snapshot(**more: tuple[EngineSpec, EngineOptions]) -> RulesetSnapshot:
    """What scanners with the puppet engine are built from; `more` engines with their options by name."""
    options = {NAME: EngineOptions(timeout_s=60), **{name: options for name, (_, options) in more.items()}}
    return gather_snapshot(options, Path, {NAME: SPEC, **{name: spec for name, (spec, _) in more.items()}})
