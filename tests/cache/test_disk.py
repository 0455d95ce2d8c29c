"""The disk tier in a cache: promotion, warm-up, restarts, purges by others, refused records, failing disks."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lmdb
import pytest
from twisted.internet.task import Clock

from icapd.cache.directory import prepare_directory
from icapd.cache.disk import MAX_PENDING, RETRY_S
from icapd.cache.tiers import Recalled, VerdictCache
from icapd.config.schema import Cache
from icapd.scan.model import CacheKey, EngineReport, Outcome, ScanReport, Verdict
from tests.cache import other_process
from tests.cache.other_process import MAX_BYTES
from tests.cache.samples import SECRET, cache_key, clean_report, malicious_report
from tests.support.reactor import reactor, wait_until

KEY = cache_key()


class Front:
    """A cache with a disk tier, as one front has it. One at a time in this process: LMDB's locks are its."""

    def __init__(
        self,
        directory: Path,
        secret: bytes = SECRET,
        rulesets: frozenset[str] = frozenset(),
        wall: Callable[[], float] = time.time,
        **settings: Any,
    ) -> None:
        self.states: list[str] = []
        self.clock = Clock()
        tables = {"ttl_clean_s": 600, "disk": {"directory": str(directory), "max_bytes": MAX_BYTES}}
        self.cache = VerdictCache(
            Cache.model_validate(tables | settings),
            secret,
            reactor,
            self.clock.seconds,
            wall,
            on_disk_state=lambda state, detail: self.states.append(state),
        )
        self.memory, self.disk = self.cache.counters.memory, self.cache.counters.disk
        self.cache.start(rulesets)
        wait_until(lambda: self.is_open)

    @property
    def is_open(self) -> bool:
        tier = self.cache._disk
        return tier is not None and tier._store is not None

    def remember(self, key: CacheKey = KEY, report: ScanReport | None = None) -> None:
        """Remembers, and waits until the disk has it or will not."""
        before = self.disk.stored + self.disk.store_errors + self.disk.stores_skipped
        self.cache.remember(key, report or clean_report())
        wait_until(lambda: self.disk.stored + self.disk.store_errors + self.disk.stores_skipped > before)


StartFront = Callable[..., Front]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    prepare_directory(tmp_path / "cache", with_secret=True)
    return tmp_path / "cache"


@pytest.fixture
def start(directory: Path) -> Iterator[StartFront]:
    with ExitStack() as stack:

        def start_one(**settings: Any) -> Front:
            front = Front(directory, **settings)
            stack.callback(front.cache.stop)
            return front

        yield start_one


def restarted(front: Front, start: StartFront, **settings: Any) -> Front:
    front.cache.stop()
    return start(**settings)


def test_a_restart_keeps_what_was_remembered_and_memory_learns_it(start: StartFront) -> None:
    one = start()
    one.remember(report=malicious_report())
    other = restarted(one, start)
    assert other.cache.recall(KEY) == Recalled(malicious_report(), "disk")
    assert other.cache.recall(KEY) == Recalled(malicious_report(), "memory")
    assert (other.disk.hits, other.memory.hits, other.memory.misses) == (1, 1, 1)
    assert other.states == []


def test_what_waits_is_written_before_the_end(start: StartFront) -> None:
    one = start()
    for number in range(1000):
        one.cache.remember(cache_key(str(number)), clean_report())
    other = restarted(one, start)
    wait_until(lambda: other.disk.entries == 1000)
    assert other.disk.size_bytes > 1000 * 300


def test_a_process_that_has_it_open_shares_it(start: StartFront, directory: Path) -> None:
    front = start()
    with other_process.begin(directory, "put", "body"):
        pass
    assert front.cache.recall(KEY) == Recalled(clean_report(), "disk")


def test_a_new_ruleset_misses_at_once(start: StartFront) -> None:
    one = start()
    one.remember()
    other = restarted(one, start)
    assert other.cache.recall(cache_key(ruleset="r2")) is None
    assert (other.disk.misses, other.disk.refused) == (1, 0)


def test_a_record_lives_for_its_verdicts_time_and_no_longer_than_ours_says(start: StartFront) -> None:
    one = start()
    one.remember()
    other = restarted(one, start, wall=lambda: time.time() + 590)
    assert other.cache.recall(KEY) == Recalled(clean_report(), "disk")
    other.clock.advance(8)
    assert other.cache.recall(KEY) is not None
    other.clock.advance(3)
    later = restarted(other, start, ttl_clean_s=50)
    assert later.cache.recall(KEY) == Recalled(clean_report(), "disk")
    later.clock.advance(51)
    assert later.cache.recall(KEY) == Recalled(clean_report(), "disk")
    last = restarted(later, start, ttl_clean_s=0)
    assert last.cache.recall(KEY) is None


def test_what_has_ended_is_a_miss_and_is_swept(start: StartFront) -> None:
    one = start()
    one.remember()
    other = restarted(one, start, wall=lambda: time.time() + 601)
    assert other.cache.recall(KEY) is None
    assert (other.disk.misses, other.disk.refused) == (1, 0)
    wait_until(lambda: other.disk.entries == 0)


def test_another_secrets_record_is_a_miss_and_counted(start: StartFront) -> None:
    one = start()
    one.remember()
    other = restarted(one, start, secret=b"x" * 32)
    assert other.cache.recall(KEY) is None
    assert (other.disk.refused, other.disk.hits) == (1, 0)
    other.remember(report=malicious_report())
    again = restarted(other, start, secret=b"x" * 32)
    assert again.cache.recall(KEY) == Recalled(malicious_report(), "disk")


@pytest.mark.parametrize("how", [lambda data: data[:-1], lambda data: b"\xc1" + data, lambda data: b"", bytes.upper])
def test_a_poisoned_record_is_a_miss_and_counted(
    start: StartFront, directory: Path, how: Callable[[bytes], bytes]
) -> None:
    front = start()
    front.remember()
    front.cache.stop()
    with lmdb.open(str(directory), max_dbs=3) as env:
        records = env.open_db(b"records")
        with env.begin(write=True, db=records) as txn:
            [(name, data)] = list(txn.cursor())
            txn.put(name, how(data))
    other = start(rulesets=frozenset({"r1"}))
    wait_until(lambda: not is_warming(other))
    before = other.disk.refused  # memory may have met it, too
    assert other.cache.recall(KEY) is None
    assert (other.disk.refused - before, other.memory.entries) == (1, 0)


def is_warming(front: Front) -> bool:
    warming = front.cache._warming
    return warming is not None and warming.is_under_way


def test_a_true_record_under_another_contents_name_is_refused(start: StartFront, directory: Path) -> None:
    front = start()
    front.remember()
    front.remember(cache_key("malicious"), malicious_report())
    front.cache.stop()
    with lmdb.open(str(directory), max_dbs=3) as env, env.begin(write=True, db=env.open_db(b"records")) as txn:
        clean = txn.get(next(name for name, _ in txn.cursor() if name.startswith(KEY.sha256)))
        assert clean is not None
        for name in list(txn.cursor().iternext(values=False)):
            txn.put(name, clean)
    other = start()
    assert other.cache.recall(cache_key("malicious")) is None
    assert other.disk.refused == 1


def test_memory_is_warmed_up_from_the_disk(start: StartFront) -> None:
    one = start()
    for number in range(300):
        one.cache.remember(cache_key(str(number), ruleset=f"r{number % 3}"), clean_report())
    other = restarted(one, start, rulesets=frozenset({"r0", "r2"}))
    wait_until(lambda: other.memory.warmed == 200)
    assert (other.memory.entries, other.memory.stored, other.disk.hits) == (200, 0, 0)
    assert other.cache.recall(cache_key("2", ruleset="r2")) == Recalled(clean_report(), "memory")
    assert other.cache.recall(cache_key("1", ruleset="r1")) == Recalled(clean_report(), "disk")


def test_warming_up_stops_where_memory_is_full_and_takes_the_longest_lives(start: StartFront) -> None:
    one = start(ttl_malicious_s=6000)
    for number in range(100):
        one.cache.remember(cache_key(str(number)), clean_report() if number % 2 else malicious_report())
    other = restarted(one, start, rulesets=frozenset({"r1"}), memory={"max_bytes": 20_000})
    wait_until(lambda: other.memory.warmed > 10)
    wait_until(lambda: other.cache._warming is not None and not other.cache._warming.is_under_way)
    assert other.memory.evicted == 0
    assert 19_000 < other.memory.size_bytes <= 20_000
    assert all(other.cache.recall(cache_key(str(number))) for number in (0, 2))
    tiers = [other.cache.recall(cache_key(str(number))) for number in range(1, 100, 2)]
    assert {found.tier for found in tiers if found} == {"disk"}


def test_a_purge_by_another_process_reaches_memory_and_what_waits(start: StartFront, directory: Path) -> None:
    front = start()
    front.remember()
    assert front.cache.recall(KEY) is not None
    with other_process.begin(directory, "purge"):
        pass
    wait_until(lambda: front.cache.recall(KEY) is None)
    assert front.memory.entries == 0
    front.remember()
    assert restarted(front, start).cache.recall(KEY) == Recalled(clean_report(), "disk")


def test_a_writer_killed_elsewhere_stops_nobody(start: StartFront, directory: Path) -> None:
    front = start()
    with other_process.begin(directory, "hold") as other:
        front.cache.remember(KEY, clean_report())
        assert front.cache.recall(cache_key("another")) is None  # readers wait for nobody
        assert front.disk.stored == 0
        other.send_signal(signal.SIGKILL)
    wait_until(lambda: front.disk.stored == 1)
    assert front.states == []


def test_a_writer_that_stands_still_elsewhere_does_not_keep_us_from_ending(
    start: StartFront, directory: Path
) -> None:
    front = start()
    with other_process.begin(directory, "hold") as other:
        for number in range(MAX_PENDING + 300):
            front.cache.remember(cache_key(str(number)), clean_report())
        assert front.disk.stores_skipped >= 1
        began = time.monotonic()
        front.cache.stop()
        assert 1 < time.monotonic() - began < 4
        other.send_signal(signal.SIGKILL)


def test_a_report_past_the_ceiling_is_not_stored(start: StartFront) -> None:
    front = start()
    huge = ScanReport(Verdict.CLEAN, reports=(EngineReport("yara", Outcome.SKIPPED, reason="x" * 200_000),))
    front.remember(report=huge)
    assert (front.disk.stores_skipped, front.disk.stored) == (1, 0)


def test_a_full_disk_is_told_once_and_lookups_go_on(start: StartFront, directory: Path) -> None:
    """A limit on the length of files stands for a full disk: both end the write of a page."""
    front = start()
    front.remember(KEY)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((directory / "data.mdb").stat().st_size, limits[1]))
    try:
        for number in range(300):
            front.remember(cache_key(str(number)))
            if front.disk.store_errors >= 3:
                break
        wait_until(lambda: front.states == ["not writable"])
        front.remember(cache_key("while it is left alone"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (front.disk.store_errors, front.disk.stores_skipped) == (3, 1)
    front.cache._memory.clear()
    assert front.cache.recall(KEY) == Recalled(clean_report(), "disk")

    deadline = time.monotonic() + RETRY_S + 5
    while front.states == ["not writable"] and time.monotonic() < deadline:
        front.remember(cache_key("again"))
    assert front.states == ["not writable", "writable again"]


def test_a_database_taken_away_is_opened_anew(start: StartFront, directory: Path) -> None:
    front = start()
    front.remember()
    (directory / "data.mdb").unlink()
    (directory / "lock.mdb").unlink()
    wait_until(lambda: front.disk.entries == 0 and (directory / "data.mdb").exists())
    wait_until(lambda: front.is_open)
    front.remember(cache_key("after"))
    other = restarted(front, start)
    assert other.cache.recall(cache_key("after")) is not None
    assert other.cache.recall(KEY) is None


def test_a_damaged_database_is_told_and_replaced(start: StartFront, directory: Path) -> None:
    (directory / "data.mdb").write_bytes(b"not a database\n" * 1000)
    front = start()
    wait_until(lambda: front.states == ["set aside"])
    front.remember()
    assert (directory / "data.mdb.set-aside").exists()


def test_a_directory_that_is_gone_costs_the_tier_alone(start: StartFront, directory: Path) -> None:
    front = start()
    front.remember()
    directory.rename(directory.with_name("elsewhere"))
    wait_until(lambda: "not usable" in front.states)
    assert front.cache.recall(KEY) == Recalled(clean_report(), "memory")
    assert front.cache.recall(cache_key("another")) is None
    assert front.disk.skipped == 1
    directory.with_name("elsewhere").rename(directory)
    wait_until(lambda: front.is_open, RETRY_S + 5)
    wait_until(lambda: front.states[-1] == "in use again")
    assert front.states.count("in use again") == 1
    assert front.cache.recall(cache_key("another")) is None
    assert front.disk.misses >= 1


def test_counters_tell_every_tier_and_shared_sizes_once(start: StartFront) -> None:
    front = start()
    front.remember()
    front.cache.recall(cache_key("another"))
    wait_until(lambda: front.disk.entries == 1)
    samples = {(name, labels): value for name, labels, value in front.cache.counters.samples()}
    assert samples["icapd_cache_entries", ("disk",)] == 1
    assert samples["icapd_cache_bytes", ("disk",)] > 0
    assert samples["icapd_cache_lookups_total", ("disk", "misses")] == 1
    assert samples["icapd_cache_stores_total", ("disk", "stored")] == 1
    assert samples["icapd_cache_lookup_seconds_total", ("disk",)] > 0
    assert samples["icapd_cache_lookup_seconds_total", ("memory",)] > 0
    of_others = {(name, labels) for name, labels, _ in front.cache.counters.samples(with_shared=False)}
    shared = {
        (name, (tier,)) for name in ("icapd_cache_entries", "icapd_cache_bytes") for tier in ("disk", "memcached")
    }
    assert set(samples) - of_others == shared
