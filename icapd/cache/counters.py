"""What the cache counts. Plain integers, so that counting costs nothing; metrics read them when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
    entries: int = 0
    size_bytes: int = 0


@dataclass(slots=True, frozen=True)
class CacheCounters:
    """The counters of all tiers."""

    memory: TierCounters
    memcached: TierCounters

    def samples(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        """Every number as metric name, labels and value."""
        for tier, counters in (("memory", self.memory), ("memcached", self.memcached)):
            for result in ("hits", "misses", "errors", "refused", "skipped"):
                yield "icapd_cache_lookups_total", (tier, result), getattr(counters, result)
            for result in ("stored", "store_errors", "stores_skipped", "evicted"):
                yield "icapd_cache_stores_total", (tier, result), getattr(counters, result)
        yield "icapd_cache_entries", ("memory",), self.memory.entries
        yield "icapd_cache_bytes", ("memory",), self.memory.size_bytes
