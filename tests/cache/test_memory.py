"""The memory tier: what it keeps, for how long, and that its bytes are true."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc

import msgspec
import pytest
from twisted.internet.task import Clock

from icapd.cache.memory import MemoryTier
from icapd.scan.model import CacheKey
from tests.cache.samples import cache_key, clean_report, malicious_report

KEY = cache_key()
MiB = 1024 * 1024


def cost_of_one() -> int:
    tier = MemoryTier(MiB, Clock().seconds)
    tier.put(KEY, clean_report(), 60)
    return tier.counters.size_bytes


def test_gives_back_what_it_was_given() -> None:
    tier = MemoryTier(MiB, Clock().seconds)
    assert tier.get(KEY) is None
    tier.put(KEY, malicious_report(), 60)
    assert tier.get(KEY) == malicious_report()
    assert (tier.counters.hits, tier.counters.misses, tier.counters.stored) == (1, 1, 1)


@pytest.mark.parametrize(
    "other", [cache_key("other"), cache_key(size_bytes=1), cache_key(ruleset="r2"), cache_key(coding="gzip")]
)
def test_every_part_of_the_key_counts(other: CacheKey) -> None:
    tier = MemoryTier(MiB, Clock().seconds)
    tier.put(KEY, clean_report(), 60)
    assert tier.get(other) is None


def test_forgets_at_the_end_of_the_life_and_not_before() -> None:
    clock = Clock()
    tier = MemoryTier(MiB, clock.seconds)
    tier.put(KEY, clean_report(), 60)
    clock.advance(59.999)
    assert tier.get(KEY) is not None
    clock.advance(0.001)
    assert tier.get(KEY) is None
    assert (tier.counters.entries, tier.counters.size_bytes) == (0, 0)


def test_overwriting_renews_the_life_and_counts_once() -> None:
    clock = Clock()
    tier = MemoryTier(MiB, clock.seconds)
    tier.put(KEY, clean_report(), 60)
    clock.advance(50)
    tier.put(KEY, malicious_report(), 60)
    clock.advance(50)
    assert tier.get(KEY) == malicious_report()
    assert tier.counters.entries == 1


@pytest.mark.parametrize("ttl_s", [0, -1])
def test_a_life_of_nothing_is_not_kept(ttl_s: float) -> None:
    tier = MemoryTier(MiB, Clock().seconds)
    tier.put(KEY, clean_report(), ttl_s)
    assert tier.counters.entries == 0


def test_zero_bytes_switch_it_off() -> None:
    tier = MemoryTier(0, Clock().seconds)
    tier.put(KEY, clean_report(), 60)
    assert tier.get(KEY) is None
    assert tier.counters.entries == 0


def test_an_entry_of_exactly_the_limit_fits_and_one_byte_less_does_not() -> None:
    exact = MemoryTier(cost_of_one(), Clock().seconds)
    exact.put(KEY, clean_report(), 60)
    assert exact.get(KEY) is not None

    short = MemoryTier(cost_of_one() - 1, Clock().seconds)
    short.put(KEY, clean_report(), 60)
    assert short.get(KEY) is None
    assert (short.counters.stores_skipped, short.counters.size_bytes) == (1, 0)


def test_an_older_report_does_not_survive_one_that_does_not_fit() -> None:
    tier = MemoryTier(cost_of_one(), Clock().seconds)
    tier.put(KEY, clean_report(), 60)
    tier.put(KEY, msgspec.structs.replace(malicious_report(), findings=malicious_report().findings * 100), 60)
    assert tier.get(KEY) is None


def test_the_least_recently_used_makes_room() -> None:
    tier = MemoryTier(3 * cost_of_one(), Clock().seconds)
    one, two, three, four = (cache_key(name) for name in ("1", "2", "3", "4"))
    for key in (one, two, three):
        tier.put(key, clean_report(), 60)
    assert tier.counters.evicted == 0
    assert tier.get(one) is not None
    tier.put(four, clean_report(), 60)
    assert tier.get(two) is None
    assert all(tier.get(key) is not None for key in (one, three, four))
    assert (tier.counters.evicted, tier.counters.entries) == (1, 3)


def test_never_holds_more_than_its_bytes() -> None:
    tier = MemoryTier(20 * cost_of_one(), Clock().seconds)
    for number in range(500):
        report = malicious_report() if number % 3 else clean_report()
        tier.put(cache_key(str(number), coding="x" * (number % 700)), report, 60)
        assert tier.counters.size_bytes <= 20 * cost_of_one()
    assert tier.counters.entries + tier.counters.evicted == 500


def test_the_peers_coding_is_paid_for() -> None:
    tier = MemoryTier(MiB, Clock().seconds)
    tier.put(cache_key(coding="x" * 10_000), clean_report(), 60)
    assert tier.counters.size_bytes >= cost_of_one() + 10_000


@pytest.mark.parametrize("coding_bytes", [0, 40, 2000])
@pytest.mark.parametrize("entries", [900, 5000])
def test_accounts_for_what_it_really_takes(entries: int, coding_bytes: int) -> None:
    """Within a quarter. The numbers of entries lie before and after the table's last doubling."""
    tier = MemoryTier(64 * MiB, Clock().seconds)
    gc.collect()
    tracemalloc.start()
    before_bytes = tracemalloc.get_traced_memory()[0]
    for number in range(entries):
        name = str(number).encode()
        coding = "x" * coding_bytes + str(number) if coding_bytes else ""
        tier.put(CacheKey(hashlib.sha256(name).digest(), 10_000 + number, "r1", coding), clean_report(), 60)
    real_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    tracemalloc.stop()
    assert 0.75 < tier.counters.size_bytes / real_bytes < 1.25
