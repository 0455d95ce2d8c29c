"""Shadow mode in a front: makes what a plan wants tried, with scanners of its own where its rules differ.

They run at the kernel's idle priority and count into numbers of their own: whatever becomes of them, the
configuration in force serves on.
"""

from __future__ import annotations

import os

from icapd.config.policies import compile_policies
from icapd.config.schema import Settings
from icapd.errors import Problem
from icapd.net.services import ServiceTable
from icapd.net.shadow import Shadow, Trial
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.plugins import decode_snapshot
from icapd.reactor import Reactor
from icapd.worker.nursing import NurseryProcess
from icapd.worker.plan import Plan, ShadowPlan
from icapd.worker.pool import ScannerPool
from icapd.worker.rules import make_rules
from icapd.worker.sandbox import Confinement


class Shadowing:
    """State: `_made_of`, what the trial under way was made of; its scanners, with the descriptor of their rules."""

    def __init__(self, reactor: Reactor, shadow: Shadow, log: EventLog) -> None:
        self._reactor = reactor
        self._shadow = shadow
        self._log = log
        self._made_of: tuple[object, ...] | None = None
        self._pool: ScannerPool | None = None
        self._snapshot_fd = -1

    def follow(self, plan: Plan, settings: Settings) -> None:
        """Tries what this plan says; goes on with what is the same."""
        shadow = plan.shadow
        made_of = (shadow, settings.shadow, settings.scanners, settings.timeouts.scan_s, settings.spool.directory)
        if made_of == self._made_of:
            return
        self.stop()
        self._made_of = made_of
        if shadow is None:
            return
        if shadow.snapshot and settings.shadow.scanners:
            self._start_scanners(shadow.snapshot, settings)
        self._shadow.follow(_trial(shadow, settings, self._pool))

    def stop(self) -> None:
        self._made_of = None
        self._shadow.follow(None)
        if self._pool is not None:
            self._pool.stop()
            self._pool = None
            os.close(self._snapshot_fd)

    def _start_scanners(self, snapshot: bytes, settings: Settings) -> None:
        count = settings.shadow.scanners
        self._snapshot_fd = make_rules(decode_snapshot(snapshot))
        confinement = Confinement.of(settings.scanners, settings.spool.directory, is_idle=True)
        nursery = NurseryProcess(self._reactor, self._snapshot_fd, confinement, self._log, self._on_build_failed)
        self._pool = ScannerPool(self._reactor, settings.scanners, count, nursery, Counters(), self._log)
        self._pool.start()

    def _on_build_failed(self, problems: list[Problem]) -> None:
        for problem in problems:
            self._log.event(EventName.BUILD_FAILED, where=f"shadow.config: {problem.where}", what=problem.what)


def _trial(plan: ShadowPlan, settings: Settings, pool: ScannerPool | None) -> Trial:
    tried = plan.read_settings()
    required = {name: is_required and name not in plan.remote for name, is_required in plan.required.items()}
    services = ServiceTable(tried, compile_policies(tried), plan.ruleset, required, b"", {})
    return Trial(
        plan.identity,
        settings.shadow.share,
        services,
        pool,
        settings.shadow.queue_tasks,
        settings.shadow.max_body_bytes,
        settings.timeouts.scan_s,
        frozenset(plan.remote),
    )
