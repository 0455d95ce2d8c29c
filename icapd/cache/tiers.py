"""The verdict cache as the pipeline sees it: recall from memory, fetch from memcached, remember in both.

Decides what is remembered and for how long. A report in which anything failed is not remembered anywhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from icapd.cache.counters import CacheCounters, TierCounters
from icapd.cache.memcached import MemcachedTier, Reactor, StateSink
from icapd.cache.memory import MemoryTier
from icapd.cache.record import MIN_SECRET_BYTES, Signer, is_storable
from icapd.config.schema import Cache
from icapd.errors import ConfigurationError, Problem
from icapd.scan.model import CacheKey, ScanReport, Verdict

MAX_SECRET_BYTES = 4096


def load_secret(settings: Cache, resolve: Callable[[str], Path] = Path) -> bytes:
    """The secret that signs records: the configured file's bytes, or random ones if nobody else must know them.

    Raises: ConfigurationError for a file that cannot be read or is too short, and for memcached without a file.
    """
    if settings.secret_file is None:
        if settings.memcached.servers:
            raise ConfigurationError(
                [Problem("cache.secret_file", "cache.memcached needs one, the same on every node")]
            )
        return secrets.token_bytes(MIN_SECRET_BYTES)
    try:
        with resolve(settings.secret_file).open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([Problem("cache.secret_file", f"cannot be read: {error.strerror}")]) from error
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ConfigurationError(
            [Problem("cache.secret_file", f"wants {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")]
        )
    return secret


class VerdictCache:
    """Reports by content and ruleset, in memory and on memcached servers.

    State: the tiers. Between `start` and `stop` memcached is asked; memory always works.
    """

    def __init__(
        self,
        settings: Cache,
        secret: bytes,
        reactor: Reactor,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_state: StateSink = lambda server, in_use: None,
    ) -> None:
        self._ttl_s = _ttl_by_verdict(settings)
        self._memory = MemoryTier(settings.memory.max_bytes, monotonic)
        self._wall = wall
        self._memcached: MemcachedTier | None = None
        if settings.memcached.servers:
            self._memcached = MemcachedTier(settings.memcached, Signer(secret), reactor, monotonic, wall, on_state)
        self.counters = CacheCounters(
            self._memory.counters, TierCounters() if self._memcached is None else self._memcached.counters
        )

    def start(self) -> None:
        """Starts memcached's threads; in the process that uses them, after the fork."""
        if self._memcached is not None:
            self._memcached.start()

    def stop(self) -> None:
        """Ends memcached's threads. Lookups that wait end as misses."""
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

    def recall(self, key: CacheKey) -> ScanReport | None:
        """The report this front remembers itself. At once."""
        return self._memory.get(key)

    async def fetch(self, key: CacheKey) -> ScanReport | None:
        """The report another front or node stored; from now on this one remembers it too. Never raises.

        Its life ends when its record's does, and not later than a report of our own would: another node's clock or
        configuration cannot make us believe something for longer than ours says.
        """
        if self._memcached is None:
            return None
        stored = await self._memcached.get(key)
        if stored is None:
            return None
        ttl_s = min(stored.expires_at_s - self._wall(), self._ttl_s[stored.report.verdict])
        if ttl_s <= 0:
            return None
        self._memory.put(key, stored.report, ttl_s)
        return stored.report

    def remember(self, key: CacheKey, report: ScanReport) -> None:
        """Stores a report in all tiers for its verdict's time; failures, and verdicts with a time of 0, nowhere."""
        ttl_s = self._ttl_s[report.verdict]
        if ttl_s == 0 or not is_storable(report):
            return
        self._memory.put(key, report, ttl_s)
        if self._memcached is not None:
            self._memcached.put(key, report, ttl_s)


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
