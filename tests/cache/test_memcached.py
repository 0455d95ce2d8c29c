"""The memcached tier against real servers: alive, dead, hanging, back again, and lying."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from icapd.cache.memcached import COMMANDS_PER_THREAD
from icapd.cache.record import Signer, memcached_key
from icapd.scan.model import EngineReport, Outcome, ScanReport, Verdict
from tests.cache.samples import cache_key, clean_report, malicious_report
from tests.cache.tier_bench import KEY, RETRY_S, SIGNER, TIMEOUT_S, Bench, StartTier, begun
from tests.support.memcached import Memcached
from tests.support.reactor import GIVE_UP_S, wait_for, wait_until


def test_a_miss_then_a_hit(bench: Bench) -> None:
    assert bench.get() is None
    bench.put(report=malicious_report())
    stored = bench.get()
    assert stored is not None
    assert stored.report == malicious_report()
    assert 598 <= stored.expires_at_s - time.time() <= 600
    counters = bench.tier.counters
    assert (counters.misses, counters.stored, counters.hits) == (1, 1, 1)
    assert (counters.errors, counters.refused, counters.skipped) == (0, 0, 0)


def test_another_node_finds_it(bench: Bench, memcached: Memcached, start_tier: StartTier) -> None:
    bench.put()
    stored = start_tier([memcached.address]).get()
    assert stored is not None
    assert stored.report == clean_report()


def test_memcached_drops_it_at_the_end_of_its_life(bench: Bench, memcached: Memcached) -> None:
    bench.put(ttl_s=1)
    with memcached.client() as intruder:
        wait_until(lambda: intruder.get(memcached_key(KEY)) is None)
    assert bench.get() is None


def test_the_longest_life_is_not_taken_for_a_date(bench: Bench) -> None:
    """memcached reads more than 30 days as a Unix time; 30 days is the ceiling of the settings."""
    bench.put(ttl_s=2_592_000)
    assert bench.get() is not None


def test_a_wrongly_signed_record_is_refused_and_then_overwritten(bench: Bench, memcached: Memcached) -> None:
    forged = Signer(b"another secret of at least 32 bytes").seal(KEY, clean_report(), int(time.time()) + 600)
    with memcached.client() as intruder:
        intruder.set(memcached_key(KEY), forged)
    assert bench.get() is None
    assert bench.tier.counters.refused == 1
    bench.put(report=malicious_report())
    stored = bench.get()
    assert stored is not None
    assert stored.report.verdict is Verdict.MALICIOUS


def test_a_record_copied_under_another_key_is_refused(bench: Bench, memcached: Memcached) -> None:
    """The attack that matters: a true CLEAN record served for a malicious body."""
    malicious = cache_key("malicious")
    bench.put()
    with memcached.client() as intruder:
        intruder.set(memcached_key(malicious), intruder.get(memcached_key(KEY)))
    assert bench.get(malicious) is None
    assert (bench.tier.counters.refused, bench.tier.counters.hits) == (1, 0)


def test_an_expired_record_is_a_plain_miss(bench: Bench, memcached: Memcached) -> None:
    with memcached.client() as intruder:
        intruder.set(memcached_key(KEY), SIGNER.seal(KEY, clean_report(), int(time.time()) - 1))
    assert bench.get() is None
    assert (bench.tier.counters.misses, bench.tier.counters.refused) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"x", b"\x01" * 200, b"x" * 200_000])
def test_foreign_bytes_are_never_believed(bench: Bench, memcached: Memcached, data: bytes) -> None:
    with memcached.client() as intruder:
        intruder.set(memcached_key(KEY), data)
    assert bench.get() is None
    # Past the ceiling of one reply the connection is given up, which counts as the server's error.
    assert bench.tier.counters.refused + bench.tier.counters.errors == 1


def test_a_report_past_the_ceiling_is_not_sent(bench: Bench) -> None:
    huge = ScanReport(Verdict.CLEAN, reports=(EngineReport("yara", Outcome.SKIPPED, reason="x" * 200_000),))
    bench.put(report=huge)
    assert (bench.tier.counters.stores_skipped, bench.tier.counters.stored) == (1, 0)


def test_a_dead_server_costs_nothing_once_the_breaker_is_open(bench: Bench, memcached: Memcached) -> None:
    bench.put()
    memcached.kill()
    bench.open_breaker()
    assert bench.tier.counters.errors == 3
    assert bench.states == [(memcached.address, False)]

    began = time.perf_counter()
    with pytest.raises(StopIteration) as ended:
        # Ends at the first step: nothing was awaited, so neither thread nor reactor took part.
        bench.tier.get(KEY).send(None)
    assert time.perf_counter() - began < 0.001
    assert ended.value.value is None
    bench.tier.put(KEY, clean_report(), 60)
    assert (bench.tier.counters.skipped, bench.tier.counters.stores_skipped) == (1, 1)


def test_a_server_that_comes_back_is_used_again(bench: Bench, memcached: Memcached) -> None:
    memcached.kill()
    bench.open_breaker()
    memcached.start()
    bench.put()
    assert bench.tier.counters.stores_skipped == 1

    bench.clock.advance(RETRY_S)
    bench.put()
    assert bench.get() is not None
    assert bench.states == [(memcached.address, False), (memcached.address, True)]


def test_a_failed_probe_waits_another_retry_time_and_is_not_reported(bench: Bench, memcached: Memcached) -> None:
    memcached.kill()
    bench.open_breaker()
    bench.clock.advance(RETRY_S)
    assert bench.get() is None
    assert bench.get() is None
    assert (bench.tier.counters.errors, bench.tier.counters.skipped) == (4, 1)
    assert bench.states == [(memcached.address, False)]


def test_a_restart_between_commands_is_not_even_a_miss_by_error(bench: Bench, memcached: Memcached) -> None:
    bench.put()
    memcached.kill()
    memcached.start()
    assert bench.get() is None
    assert (bench.tier.counters.misses, bench.tier.counters.errors) == (1, 0)


def test_a_hanging_server_costs_the_time_out_and_no_more(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], timeout_s=TIMEOUT_S)
    memcached.hang()
    for _ in range(3):
        began = time.monotonic()
        assert bench.get() is None
        assert TIMEOUT_S * 0.9 <= time.monotonic() - began < TIMEOUT_S + 0.5
    assert bench.tier.servers_left_alone == 1
    began = time.monotonic()
    assert bench.get() is None
    assert time.monotonic() - began < TIMEOUT_S / 2

    memcached.resume()
    bench.clock.advance(RETRY_S)
    assert bench.get() is None
    assert (bench.tier.counters.errors, bench.tier.counters.skipped, bench.tier.counters.misses) == (3, 1, 1)
    assert bench.tier.servers_left_alone == 0


def test_what_may_wait_is_bounded(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1, timeout_s=2)
    memcached.hang()
    limit = COMMANDS_PER_THREAD
    counters = bench.tier.counters

    for number in range(limit // 2 + 1):
        bench.tier.put(cache_key(str(number)), clean_report(), 60)
    assert counters.stores_skipped == 1

    for number in range(limit // 2 + 1):
        coroutine = bench.tier.get(cache_key(str(number)))
        if number < limit // 2:
            coroutine.send(None)
        else:
            with pytest.raises(StopIteration):
                coroutine.send(None)
    assert counters.skipped == 1
    memcached.resume()


def test_those_who_wait_for_a_thread_do_not_blame_the_server(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1, timeout_s=TIMEOUT_S)
    memcached.hang()
    began = time.monotonic()
    waiting = [begun(bench, KEY)]
    waiting += [Deferred.fromCoroutine(bench.tier.get(cache_key(str(number)))) for number in range(9)]
    assert wait_for(gatherResults(waiting)) == [None] * 10
    assert time.monotonic() - began < TIMEOUT_S + 0.5
    # The only thread asks for the first; the others may begin in the instant before their own time is over.
    counters = bench.tier.counters
    assert counters.errors >= 1
    assert counters.errors + counters.skipped == 10
    assert bench.tier.servers_left_alone == 0
    memcached.resume()


def test_a_lookup_nobody_waits_for_any_more_harms_nobody(bench: Bench) -> None:
    bench.put()
    abandoned = Deferred.fromCoroutine(bench.tier.get(KEY))
    abandoned.cancel()
    with pytest.raises(CancelledError):
        wait_for(abandoned)
    assert bench.get() is not None


def test_two_servers_share_the_keys_and_nodes_agree_which(
    memcached: Memcached, second_memcached: Memcached, start_tier: StartTier
) -> None:
    servers = [memcached.address, second_memcached.address]
    bench = start_tier(servers)
    keys = [cache_key(str(number)) for number in range(40)]
    for key in keys:
        bench.put(key)
    counts = []
    for server in (memcached, second_memcached):
        with server.client() as client:
            counts.append(int(client.stats()[b"curr_items"]))
    assert sum(counts) == 40
    assert min(counts) >= 8
    other_node = start_tier(servers[::-1])
    assert all(other_node.get(key) is not None for key in keys)


def test_the_keys_of_a_dead_server_go_to_the_other(
    memcached: Memcached, second_memcached: Memcached, start_tier: StartTier
) -> None:
    bench = start_tier([memcached.address, second_memcached.address])
    keys = [cache_key(str(number)) for number in range(20)]
    memcached.kill()
    for key in keys:
        bench.put(key)
    assert bench.tier.counters.store_errors == 3
    assert bench.states == [(memcached.address, False)]
    for key in keys:
        bench.put(key)
    assert all(bench.get(key) is not None for key in keys)
    assert bench.tier.counters.errors == 0


def memcached_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "memcached" in thread.name]


def test_stop_waits_for_no_thread(start_tier: StartTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload calls it while a front serves; a resolver may hang for long."""
    answers = threading.Event()

    def resolve(*_: object) -> list[object]:
        answers.wait(GIVE_UP_S)
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    bench = start_tier(["name.example:11211"], timeout_s=TIMEOUT_S)
    asked = begun(bench, cache_key("asked"))
    bench.tier.stop()
    assert wait_for(asked) is None
    assert memcached_threads()
    assert bench.get() is None
    answers.set()
    wait_until(lambda: not memcached_threads())


def test_stop_ends_what_waits_and_every_thread(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address], threads=1, timeout_s=TIMEOUT_S)
    memcached.hang()
    waiting = [Deferred.fromCoroutine(bench.tier.get(cache_key(str(number)))) for number in range(3)]
    bench.tier.stop()
    assert wait_for(gatherResults(waiting)) == [None] * 3
    wait_until(lambda: not memcached_threads())
    memcached.resume()
    assert bench.get() is None
    assert bench.tier.counters.skipped == 4

    bench.tier.start()
    bench.put()
    assert bench.get() is not None


def test_a_busy_reactor_gives_way_to_the_threads(start_tier: StartTier) -> None:
    sys.setswitchinterval(0.005)
    start_tier(["127.0.0.1:1"])
    assert sys.getswitchinterval() == pytest.approx(0.0001)


def test_stop_without_start_and_stop_again_are_harmless(memcached: Memcached, start_tier: StartTier) -> None:
    bench = start_tier([memcached.address])
    bench.tier.stop()
    bench.tier.stop()
