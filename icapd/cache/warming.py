"""Warm-up: at the start memory takes over what the disk has, in slices between which the reactor serves.

Begins with what has the longest life before it, and ends when memory is full: nothing that was remembered meanwhile
makes room for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set

from icapd.cache.disk import DiskTier
from icapd.cache.memcached import Reactor
from icapd.cache.memory import MemoryTier
from icapd.cache.record import Stored
from icapd.reactor import DelayedCall

SLICE_S = 0.002
PAUSE_S = 0.01
RECORDS_A_LOOK = 32
"""Records between two looks at the clock: 0.3 ms."""


class Warming:
    """One walk over the disk tier.

    State: `_before`, the place in the order of ages where the last slice ended.
    """

    def __init__(
        self,
        disk: DiskTier,
        memory: MemoryTier,
        rulesets: Set[str],
        left_s: Callable[[Stored], float],
        reactor: Reactor,
    ) -> None:
        self._disk = disk
        self._memory = memory
        self._rulesets = rulesets
        self._left_s = left_s
        self._reactor = reactor
        self._before = b""
        self._call: DelayedCall | None = None

    def start(self) -> None:
        if self._rulesets:
            self._call = self._reactor.callLater(PAUSE_S, self._slice)

    def end(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()

    @property
    def is_under_way(self) -> bool:
        return self._call is not None and self._call.active()

    def _slice(self) -> None:
        until = time.perf_counter() + SLICE_S
        while time.perf_counter() < until:
            if not self._look():
                return
        self._call = self._reactor.callLater(PAUSE_S, self._slice)

    def _look(self) -> bool:
        """Returns: whether there may be more to take over."""
        self._before, records = self._disk.longest_living(self._before, RECORDS_A_LOOK)
        return bool(self._before) and all(
            self._memory.warm(key, stored.report, self._left_s(stored))
            for key, stored in records
            if key.ruleset in self._rulesets
        )
