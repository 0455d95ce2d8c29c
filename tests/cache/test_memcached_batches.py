"""Look-ups that share a command, large records, and how much the servers hold."""

from __future__ import annotations

import os
import zlib

from twisted.internet.defer import Deferred, gatherResults

from icapd.cache.memcached import LOOKUPS_PER_COMMAND
from icapd.cache.record import DEFLATED, RECORD_VERSION, Stored, memcached_key
from icapd.scan.model import CacheKey, EngineReport, Outcome, ScanReport, Verdict
from tests.cache.samples import cache_key
from tests.cache.tier_bench import KEY, SIGNER, TIMEOUT_S, Bench, StartTier, begun
from tests.support.memcached import Memcached
from tests.support.reactor import wait_for, wait_until


def batched(bench: Bench, memcached: Memcached, keys: list[CacheKey]) -> list[Stored | None]:
    """Look-ups that wait together, because the only thread is held by another one."""
    memcached.hang()
    first = begun(bench, cache_key("first"))
    waiting = [Deferred.fromCoroutine(bench.tier.get(key)) for key in keys]
    memcached.resume()
    assert wait_for(first) is None
    return wait_for(gatherResults(waiting))


def test_lookups_that_wait_together_are_one_command(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1)
    keys = [cache_key(str(number)) for number in range(LOOKUPS_PER_COMMAND)]
    for key in keys[::2]:
        bench.put(key)
    sizes: list[int] = []
    connections = bench.tier._servers[0].connections
    get_many = connections.get_many

    def counted(names: list[bytes]) -> dict[bytes, bytes]:
        sizes.append(len(names))
        found: dict[bytes, bytes] = get_many(names)
        return found

    connections.get_many = counted

    found = batched(bench, memcached, [*keys, keys[0]])
    assert [bool(stored) for stored in found] == [True, False] * (len(keys) // 2) + [True]
    assert sizes == [1, LOOKUPS_PER_COMMAND, 1]
    counters = bench.tier.counters
    assert (counters.hits, counters.misses, counters.errors) == (len(keys) // 2 + 1, len(keys) // 2 + 1, 0)
    assert not bench.tier._waiting


def test_a_forged_record_in_a_batch_is_refused_alone(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1)
    keys = [cache_key(str(number)) for number in range(3)]
    for key in keys:
        bench.put(key)
    with memcached.client() as intruder:
        intruder.set(memcached_key(keys[1]), intruder.get(memcached_key(keys[0])))
    assert [bool(stored) for stored in batched(bench, memcached, keys)] == [True, False, True]
    assert bench.tier.counters.refused == 1


def test_a_batch_that_fails_counts_once_against_its_server(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1, timeout_s=TIMEOUT_S, failures_before_open=2)
    memcached.hang()
    for left_alone in (0, 1):
        waiting = [Deferred.fromCoroutine(bench.tier.get(cache_key(str(number)))) for number in range(5)]
        assert wait_for(gatherResults(waiting)) == [None] * 5
        wait_until(lambda: not bench.tier._waiting)
        assert bench.tier.servers_left_alone == left_alone
    memcached.resume()


def test_large_reports_travel_deflated_and_many_at_once(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1)
    large = ScanReport(Verdict.CLEAN, reports=(EngineReport("yara", Outcome.SKIPPED, reason="x" * 100_000),))
    incompressible = ScanReport(
        Verdict.CLEAN, reports=(EngineReport("yara", Outcome.SKIPPED, reason=os.urandom(60_000).hex()),)
    )
    keys = [cache_key(str(number)) for number in range(8)]
    for key in keys:
        bench.put(key, incompressible)
    assert all(batched(bench, memcached, keys))
    bench.put(KEY, large)
    with memcached.client() as client:
        assert len(client.get(memcached_key(KEY))) < 1000
    stored = bench.get()
    assert stored is not None
    assert stored.report == large


def test_a_bomb_in_memcached_is_a_miss_and_counted(bench: Bench, memcached: Memcached) -> None:
    payload = zlib.compress(b"\0" * 50_000_000)
    bomb = bytes((RECORD_VERSION, DEFLATED)) + SIGNER._digest(KEY, DEFLATED, payload) + payload
    with memcached.client() as intruder:
        intruder.set(memcached_key(KEY), bomb)
    assert bench.get() is None
    assert (bench.tier.counters.refused, bench.tier.counters.hits) == (1, 0)


def test_the_tier_knows_how_much_its_servers_hold(
    memcached: Memcached, second_memcached: Memcached, start_tier: StartTier
) -> None:
    bench = start_tier([memcached.address, second_memcached.address])
    for number in range(10):
        bench.put(cache_key(str(number)))
    bench.tier._ask_sizes()
    wait_until(lambda: bench.tier.counters.entries == 10)
    assert bench.tier.counters.size_bytes > 10 * 300
    second_memcached.kill()
    bench.tier._ask_sizes()
    wait_until(lambda: 0 < bench.tier.counters.entries < 10)
