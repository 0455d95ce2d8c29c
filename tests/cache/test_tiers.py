"""The verdict cache as a whole: what is remembered, for how long, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from icapd.cache.record import Signer, memcached_key
from icapd.cache.secret import MAX_SECRET_BYTES, load_secret
from icapd.cache.tiers import Recalled, VerdictCache
from icapd.config.schema import Cache
from icapd.errors import ConfigurationError
from icapd.scan.model import ERROR_KINDS, Outcome, ScanReport, Verdict
from tests.cache.samples import (
    SECRET,
    cache_key,
    clean_report,
    malicious_report,
    report_failing_with,
    report_with,
)
from tests.support.memcached import Memcached
from tests.support.reactor import reactor, wait_for, wait_until

KEY = cache_key()
TTLS = {
    "ttl_clean_s": 10,
    "ttl_suspicious_s": 20,
    "ttl_malicious_s": 30,
    "ttl_unscannable_s": 40,
}

StartCache = Callable[..., VerdictCache]


def memory_cache(clock: Clock, **settings: Any) -> VerdictCache:
    return VerdictCache(Cache.model_validate(TTLS | settings), SECRET, reactor, monotonic=clock.seconds)


@pytest.fixture
def start_cache(memcached: Memcached) -> Iterator[StartCache]:
    """Caches over one memcached: each is a node of its own."""
    with ExitStack() as stack:

        def start(clock: Clock | None = None, wall: Callable[[], float] = time.time, **settings: Any) -> VerdictCache:
            tables = {"ttl_clean_s": 600, "memcached": {"servers": [memcached.address], "timeout_s": 5}}
            monotonic = (clock or Clock()).seconds
            cache = VerdictCache(Cache.model_validate(tables | settings), SECRET, reactor, monotonic, wall)
            cache.start()
            stack.callback(cache.stop)
            return cache

        yield start


def remember(cache: VerdictCache, report: ScanReport) -> None:
    """Remembers, and waits until memcached has it."""
    cache.remember(KEY, report)
    wait_until(lambda: cache.counters.memcached.stored == 1)


@pytest.mark.parametrize(
    ("verdict", "ttl_s"),
    [
        (Verdict.CLEAN, 10),
        (Verdict.SUSPICIOUS, 20),
        (Verdict.MALICIOUS, 30),
        (Verdict.FORBIDDEN, 30),
        (Verdict.UNSCANNABLE, 40),
    ],
)
def test_each_verdict_lives_for_its_own_time(verdict: Verdict, ttl_s: int) -> None:
    clock = Clock()
    cache = memory_cache(clock)
    cache.remember(KEY, report_with(verdict))
    clock.advance(ttl_s - 0.001)
    assert cache.recall(KEY) == Recalled(report_with(verdict), "memory")
    clock.advance(0.001)
    assert cache.recall(KEY) is None


@pytest.mark.parametrize(
    "report",
    [
        report_with(Verdict.ERROR),
        report_with(Verdict.NOT_SCANNED),
        report_with(Verdict.MALICIOUS, Outcome.FAILED),
        report_with(Verdict.CLEAN, Outcome.TIMED_OUT),
        *(report_failing_with(kind) for kind in sorted(ERROR_KINDS)),
    ],
)
def test_failures_are_never_remembered(report: ScanReport, start_cache: StartCache) -> None:
    cache = start_cache()
    cache.remember(KEY, report)
    assert cache.recall(KEY) is None
    assert wait_for(cache.fetch(KEY)) is None
    assert (cache.counters.memory.stored, cache.counters.memcached.stored) == (0, 0)


def test_a_time_of_zero_means_not_remembered(start_cache: StartCache) -> None:
    cache = start_cache(ttl_clean_s=0)
    cache.remember(KEY, clean_report())
    assert cache.recall(KEY) is None
    assert wait_for(cache.fetch(KEY)) is None
    assert cache.counters.memcached.stored == 0


def test_without_memcached_there_is_nothing_to_fetch() -> None:
    cache = memory_cache(Clock())
    cache.start()
    cache.remember(KEY, clean_report())
    assert not cache.is_shared
    assert wait_for(cache.fetch(KEY)) is None
    assert cache.recall(KEY) == Recalled(clean_report(), "memory")
    assert cache.servers_left_alone == 0
    cache.stop()


def test_what_one_node_stores_another_fetches_and_remembers(start_cache: StartCache) -> None:
    one, other = start_cache(), start_cache()
    remember(one, malicious_report())
    assert other.is_shared
    assert other.recall(KEY) is None
    assert wait_for(other.fetch(KEY)) == malicious_report()
    assert other.recall(KEY) == Recalled(malicious_report(), "memory")
    assert (other.counters.memory.misses, other.counters.memory.hits, other.counters.memcached.hits) == (1, 1, 1)


def test_a_fetched_report_lives_only_as_long_as_its_record(start_cache: StartCache) -> None:
    clock = Clock()
    now_s = time.time()
    one = start_cache(wall=lambda: now_s)
    other = start_cache(clock, wall=lambda: now_s + 500)
    remember(one, clean_report())
    assert wait_for(other.fetch(KEY)) == clean_report()
    clock.advance(98.9)
    assert other.recall(KEY) is not None
    clock.advance(1.2)
    assert other.recall(KEY) is None


def test_a_fetched_report_lives_no_longer_than_one_of_our_own(start_cache: StartCache) -> None:
    clock = Clock()
    one, other = start_cache(ttl_clean_s=600), start_cache(clock, ttl_clean_s=50)
    remember(one, clean_report())
    assert wait_for(other.fetch(KEY)) == clean_report()
    clock.advance(49.9)
    assert other.recall(KEY) is not None
    clock.advance(0.1)
    assert other.recall(KEY) is None


def test_a_verdict_this_node_does_not_remember_is_not_taken_from_others(start_cache: StartCache) -> None:
    one, other = start_cache(), start_cache(ttl_clean_s=0)
    remember(one, clean_report())
    assert wait_for(other.fetch(KEY)) is None


def test_a_refused_record_is_counted_and_overwritten_by_the_next_scan(
    memcached: Memcached, start_cache: StartCache
) -> None:
    cache = start_cache()
    with memcached.client() as intruder:
        forged = Signer(b"x" * 32).seal(KEY, clean_report(), int(time.time()) + 600)
        intruder.set(memcached_key(KEY), forged)
    assert wait_for(cache.fetch(KEY)) is None
    assert cache.recall(KEY) is None
    assert cache.counters.memcached.refused == 1
    remember(cache, malicious_report())
    assert wait_for(start_cache().fetch(KEY)) == malicious_report()


def test_a_dead_memcached_leaves_memory_at_work(memcached: Memcached, start_cache: StartCache) -> None:
    cache = start_cache()
    memcached.kill()
    cache.remember(KEY, clean_report())
    assert cache.recall(KEY) == Recalled(clean_report(), "memory")
    for _ in range(2):
        assert wait_for(cache.fetch(cache_key("unknown"))) is None
    wait_until(lambda: cache.servers_left_alone == 1)


def test_memory_alone_needs_no_file_and_no_two_processes_share_a_secret() -> None:
    assert len(load_secret(Cache())) >= 32
    assert load_secret(Cache()) != load_secret(Cache())


def test_memcached_needs_a_secret_file() -> None:
    with pytest.raises(ConfigurationError, match=r"cache\.secret_file"):
        load_secret(Cache.model_validate({"memcached": {"servers": ["127.0.0.1:1"]}}))


@pytest.mark.parametrize("size_bytes", [32, MAX_SECRET_BYTES])
def test_the_secret_is_the_files_bytes(tmp_path: Path, size_bytes: int) -> None:
    secret = bytes(range(256)) * 16
    (tmp_path / "secret").write_bytes(secret[:size_bytes])
    assert load_secret(Cache(secret_file="secret"), tmp_path.joinpath) == secret[:size_bytes]


@pytest.mark.parametrize("size_bytes", [0, 31, MAX_SECRET_BYTES + 1])
def test_a_secret_of_the_wrong_length_is_refused(tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "secret").write_bytes(b"s" * size_bytes)
    with pytest.raises(ConfigurationError, match="wants 32 to 4096 bytes"):
        load_secret(Cache(secret_file=str(tmp_path / "secret")))


def test_a_secret_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_secret(Cache(secret_file=str(tmp_path / "absent")))
