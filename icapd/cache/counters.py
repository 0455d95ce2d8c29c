"""What the cache counts. Plain integers, so that counting costs nothing; metrics read them when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from icapd.cache.record import RefusalReason

_LOOKUPS = ("hits", "misses", "errors", "refused", "skipped")
_STORES = ("stored", "store_errors", "stores_skipped", "evicted", "warmed")


@dataclass(slots=True)
class TierCounters:
    """One tier's counters. A lookup adds to exactly one of the first five, a store to one of the next three."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    """The server failed or took too long. To the caller a miss."""
    refused: int = 0
    """A record was there but not believed: forged, foreign, damaged, or of another release. To the caller a miss."""
    skipped: int = 0
    """Nobody was asked: every server is being left alone, or too many commands wait. To the caller a miss."""

    stored: int = 0
    store_errors: int = 0
    stores_skipped: int = 0

    evicted: int = 0
    warmed: int = 0
    """Taken over from the disk at the start."""
    entries: int = 0
    size_bytes: int = 0
    """For memcached: of all who use its servers."""
    lookup_s: float = 0.0
    """The time of all look-ups but skipped ones."""

    def count_refusal(self, reason: RefusalReason) -> None:
        """Clocks differ, and sweeping takes its time: a record whose life has just ended is nothing to report."""
        if reason is RefusalReason.EXPIRED:
            self.misses += 1
        else:
            self.refused += 1


@dataclass(slots=True, frozen=True)
class CacheCounters:
    """The counters of all tiers."""

    memory: TierCounters
    disk: TierCounters
    memcached: TierCounters

    def samples(self, *, with_shared: bool = True) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Every number as metric name, labels and value.

        Args:
            with_shared: whether to tell the size of what several processes share; one of them must.
        """
        tiers = (
            ("memory", self.memory, True),
            ("disk", self.disk, with_shared),
            ("memcached", self.memcached, with_shared),
        )
        for tier, counters, has_size in tiers:
            for result in _LOOKUPS:
                yield "icapd_cache_lookups_total", (tier, result), getattr(counters, result)
            for result in _STORES:
                yield "icapd_cache_stores_total", (tier, result), getattr(counters, result)
            yield "icapd_cache_lookup_seconds_total", (tier,), counters.lookup_s
            if has_size:
                yield "icapd_cache_entries", (tier,), counters.entries
                yield "icapd_cache_bytes", (tier,), counters.size_bytes
