"""The verdict cache as the pipeline sees it: memory, then disk, then memcached; what one finds, those above learn.

Decides what is remembered and for how long. A report in which anything failed is not remembered anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import NamedTuple

from icapd.cache.counters import CacheCounters, TierCounters
from icapd.cache.disk import DiskTier
from icapd.cache.memcached import MemcachedTier, Reactor, StateSink
from icapd.cache.memory import MemoryTier
from icapd.cache.record import Signer, Stored, is_storable
from icapd.cache.warming import Warming
from icapd.config.schema import Cache
from icapd.scan.model import CacheKey, ScanReport, Verdict


class Recalled(NamedTuple):
    """A report, and the tier that had it, as the access line names it."""

    report: ScanReport
    tier: str


class VerdictCache:
    """Reports by content and ruleset, in memory, on the disk and on memcached servers.

    State: the tiers. Between `start` and `stop` the shared ones are asked; memory always works.
    """

    def __init__(
        self,
        settings: Cache,
        secret: bytes,
        reactor: Reactor,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_state: StateSink = lambda server, in_use: None,
        on_disk_state: Callable[[str, str], None] = lambda state, detail: None,
    ) -> None:
        self._ttl_s = _ttl_by_verdict(settings)
        self._memory = MemoryTier(settings.memory.max_bytes, monotonic)
        self._wall = wall
        self._reactor = reactor
        self._warming: Warming | None = None
        self._rulesets: Set[str] = frozenset()
        self.on_disk_state = on_disk_state
        self._disk: DiskTier | None = None
        if settings.disk.directory is not None:
            directory = Path(settings.disk.directory)
            self._disk = DiskTier(directory, settings.disk.max_bytes, Signer(secret), reactor, self, wall)
        self._memcached: MemcachedTier | None = None
        if settings.memcached.servers:
            self._memcached = MemcachedTier(settings.memcached, Signer(secret), reactor, monotonic, wall, on_state)
        self.counters = CacheCounters(
            self._memory.counters,
            TierCounters() if self._disk is None else self._disk.counters,
            TierCounters() if self._memcached is None else self._memcached.counters,
        )

    def follow(self, settings: Cache, rulesets: Set[str]) -> None:
        """Takes the lifetimes of a new configuration, and whose verdicts are of use from now on."""
        self._ttl_s = _ttl_by_verdict(settings)
        self._rulesets = rulesets

    def start(self, rulesets: Set[str] = frozenset()) -> None:
        """Starts the shared tiers' threads; in the process that uses them, after the fork.

        Args:
            rulesets: whose verdicts memory takes over from the disk once that is open.
        """
        self._rulesets = rulesets
        if self._disk is not None:
            self._disk.start()
        if self._memcached is not None:
            self._memcached.start()

    def stop(self) -> None:
        """Ends the threads; what waits for the disk is written first. Lookups that wait end as misses."""
        self._end_warming()
        if self._disk is not None:
            self._disk.stop()
        if self._memcached is not None:
            self._memcached.stop()

    @property
    def is_shared(self) -> bool:
        """Whether `fetch` can find anything that `recall` does not."""
        return self._memcached is not None

    @property
    def servers_left_alone(self) -> int:
        """How many memcached servers are not in use at the moment."""
        return 0 if self._memcached is None else self._memcached.servers_left_alone

    def recall(self, key: CacheKey) -> Recalled | None:
        """The report that this front remembers, or that lies on this machine's disk. At once."""
        report = self._memory.get(key)
        if report is not None:
            return Recalled(report, "memory")
        if self._disk is None or (stored := self._disk.get(key)) is None:
            return None
        return Recalled(stored.report, "disk") if self._take_up(key, stored) > 0 else None

    async def fetch(self, key: CacheKey) -> ScanReport | None:
        """The report another node stored; from now on memory and disk have it too. Never raises."""
        if self._memcached is None:
            return None
        stored = await self._memcached.get(key)
        if stored is None or (ttl_s := self._take_up(key, stored)) <= 0:
            return None
        if self._disk is not None:
            self._disk.put(key, stored.report, int(self._wall() + ttl_s))
        return stored.report

    def remember(self, key: CacheKey, report: ScanReport) -> None:
        """Stores a report in all tiers for its verdict's time; failures, and verdicts with a time of 0, nowhere."""
        ttl_s = self._ttl_s[report.verdict]
        if ttl_s == 0 or not is_storable(report):
            return
        self._memory.put(key, report, ttl_s)
        if self._disk is not None:
            self._disk.put(key, report, int(self._wall()) + ttl_s)
        if self._memcached is not None:
            self._memcached.put(key, report, ttl_s)

    def _take_up(self, key: CacheKey, stored: Stored) -> float:
        """Promotes a report of a lower tier to memory. Returns: for how long it may be believed.

        Its life ends when its record's does, and not later than a report of our own would: another node's clock or
        configuration cannot make us believe something for longer than ours says.
        """
        ttl_s = self._left_s(stored)
        self._memory.put(key, stored.report, ttl_s)
        return ttl_s

    def _left_s(self, stored: Stored) -> float:
        return min(stored.expires_at_s - self._wall(), self._ttl_s[stored.report.verdict])

    # What the disk tier tells

    def on_disk_opened(self) -> None:
        self._end_warming()
        if self._disk is not None:
            self._warming = Warming(self._disk, self._memory, self._rulesets, self._left_s, self._reactor)
            self._warming.start()

    def on_purged(self) -> None:
        """Somebody emptied the disk: what this front has taken from it, or put there, goes too."""
        self._end_warming()
        self._memory.clear()

    def _end_warming(self) -> None:
        if self._warming is not None:
            self._warming.end()
            self._warming = None


def _ttl_by_verdict(settings: Cache) -> Mapping[Verdict, int]:
    return {
        Verdict.CLEAN: settings.ttl_clean_s,
        Verdict.SUSPICIOUS: settings.ttl_suspicious_s,
        Verdict.MALICIOUS: settings.ttl_malicious_s,
        Verdict.FORBIDDEN: settings.ttl_malicious_s,
        Verdict.UNSCANNABLE: settings.ttl_unscannable_s,
        Verdict.ERROR: 0,
        Verdict.NOT_SCANNED: 0,
    }
