"""Scanners whose answers a test gives, when it likes."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from icapd.scan.model import CacheKey
from icapd.scan.spool import Body
from icapd.scan.tree import Examination


class HeldScans:
    """State: `running`, all scans that were asked for, in order; a test ends them."""

    def __init__(self) -> None:
        self.running: list[Deferred[Examination]] = []

    def submit(
        self,
        key: CacheKey,
        engines: tuple[str, ...] | None,
        body: Body,
        client: str,
        deadline: float,
        kill_at: float,
    ) -> Deferred[Examination]:
        self.running.append(Deferred())
        return self.running[-1]
