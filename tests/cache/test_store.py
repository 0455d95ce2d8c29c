"""The database itself: what it keeps, how it stays within its bound, and what a purge leaves."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import msgspec
import pytest

from icapd.cache.record import RefusalReason
from icapd.cache.store import FULL_AT, Entry, ForeignStore, Pending, VerdictStore, entry_name
from tests.cache.other_process import MAX_BYTES, pending
from tests.cache.samples import cache_key


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VerdictStore]:
    opened = VerdictStore(tmp_path, MAX_BYTES)
    yield opened
    opened.close()


def filler(number: int, expires_at_s: int, size_bytes: int = 500) -> Pending:
    name = entry_name(cache_key(str(number)))
    return Pending(name, 0, Entry(expires_at_s, 14_000, "r1", "", os.urandom(size_bytes)))


def names_by_life(store: VerdictStore) -> list[bytes]:
    return [name for _, name, _ in store.longest_living(b"", 100_000)]


def test_what_was_written_is_there_with_its_key(store: VerdictStore) -> None:
    one = pending("one")
    assert store.get(one.name) is None
    written = store.write([one])
    assert (written.stored, written.stale, written.evicted) == (1, 0, 0)
    assert store.get(one.name) == one.entry
    assert one.entry.key(one.name) == cache_key("one")
    assert store.usage().entries == 1


def test_another_ruleset_size_or_coding_is_another_entry() -> None:
    keys = [cache_key(), cache_key(ruleset="r2"), cache_key(coding="gzip"), cache_key(size_bytes=1), cache_key("b")]
    assert len({entry_name(key) for key in keys}) == len(keys)


def test_everything_known_of_one_content_is_found_together(store: VerdictStore) -> None:
    for ruleset in ("r1", "r2"):
        key = cache_key("one", ruleset=ruleset)
        store.write([Pending(entry_name(key), 0, Entry(2_000_000_000, 14_000, ruleset, "", b"record"))])
    store.write([pending("other")])
    found = store.find(cache_key("one").sha256)
    assert {entry.ruleset for _, entry in found if isinstance(entry, Entry)} == {"r1", "r2"}
    assert store.find(bytes(32)) == []


def test_a_newer_record_takes_the_place_of_the_older(store: VerdictStore) -> None:
    store.write([pending("one", 60)])
    store.write([newer := pending("one", 600)])
    assert store.get(newer.name) == newer.entry
    assert (store.usage().entries, len(names_by_life(store))) == (1, 1)
    assert store.sweep(time.time() + 100) == 0


def test_the_longest_lives_come_first_slice_by_slice(store: VerdictStore) -> None:
    entries = [pending(str(life_s), life_s) for life_s in (300, 100, 200, 400)]
    store.write(entries)
    expected = [entries[index].name for index in (3, 0, 2, 1)]
    before, seen = b"", []
    while found := store.longest_living(before, 3):
        before = found[-1][0]
        seen.append([name for _, name, _ in found])
    assert seen == [expected[:3], expected[3:]]


def test_sweeping_drops_what_has_ended_in_small_steps(store: VerdictStore) -> None:
    now_s = time.time()
    limit = store.batch_entries
    for first in (0, limit):
        store.write([filler(first + number, int(now_s) - 10) for number in range(limit - first // limit)])
    store.write([living := pending("living")])
    assert [store.sweep(now_s) for _ in range(3)] == [limit, limit - 1, 0]
    assert names_by_life(store) == [living.name]
    assert store.usage().entries == 1


def test_a_full_store_drops_whose_life_ends_first_and_never_grows_past_its_bound(
    store: VerdictStore, tmp_path: Path
) -> None:
    now_s, number, evicted = int(time.time()), 0, 0
    while number < 40_000:
        batch = [filler(number + each, now_s + 60 + number + each) for each in range(store.batch_entries)]
        evicted += store.write(batch).evicted
        number += len(batch)
    usage = store.usage()
    assert evicted == number - usage.entries > 10_000
    assert 0.7 * FULL_AT * MAX_BYTES < usage.size_bytes <= FULL_AT * MAX_BYTES + 64 * 1000
    assert (tmp_path / "data.mdb").stat().st_size <= MAX_BYTES
    [_, newest, _] = store.longest_living(b"", 1)[0]
    assert newest == filler(number - 1, 0).name
    assert store.get(filler(0, 0).name) is None


def test_large_records_fit_beside_small_ones(store: VerdictStore) -> None:
    now_s = int(time.time())
    for number in range(300):
        size_bytes = 120_000 if number % 3 else 400
        store.write([filler(number, now_s + number, size_bytes)])
    assert store.usage().size_bytes <= FULL_AT * MAX_BYTES + 130_000


def test_a_purge_leaves_nothing_and_nothing_older_comes_after_it(store: VerdictStore) -> None:
    late = pending("late", generation=store.generation())
    store.write([pending("one"), pending("two")])
    assert store.purge() == 2
    assert (store.usage().entries, store.generation(), names_by_life(store)) == (0, 1, [])
    written = store.write([late])
    assert (written.stored, written.stale) == (0, 1)
    assert store.write([pending("new", generation=1)]).stored == 1


def test_what_is_no_entry_is_told_as_such(store: VerdictStore) -> None:
    one = pending("one")
    store.write([one])
    with store._env.begin(write=True, db=store._records) as txn:
        txn.put(one.name, b"\xc1")
    with pytest.raises(msgspec.DecodeError):
        store.get(one.name)
    assert store.find(cache_key("one").sha256) == [(one.name, RefusalReason.MALFORMED)]
    assert store.longest_living(b"", 10) == []
    assert list(store.entries()) == []
    store.write([one])
    assert store.get(one.name) == one.entry


def test_a_disk_that_refuses_costs_the_batch_and_nothing_that_was_there(store: VerdictStore, tmp_path: Path) -> None:
    """A limit on the length of files stands for a full disk: both end the write of a page."""
    kept = pending("kept")
    store.write([kept])
    size_bytes = (tmp_path / "data.mdb").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        with pytest.raises(lmdb.Error):
            store.write([filler(number, int(time.time()) + 60, 3000) for number in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.get(kept.name) == kept.entry
    assert store.usage().entries == 1
    assert store.write([pending("after")]).stored == 1


def test_a_file_that_was_taken_away_is_noticed(store: VerdictStore, tmp_path: Path) -> None:
    assert not store.is_replaced
    (tmp_path / "data.mdb").rename(tmp_path / "elsewhere")
    assert store.is_replaced
    (tmp_path / "data.mdb").write_bytes(b"")
    assert store.is_replaced


def test_another_layout_is_foreign(tmp_path: Path) -> None:
    store = VerdictStore(tmp_path, MAX_BYTES)
    with store._env.begin(write=True, db=store._meta) as txn:
        txn.put(b"format", b"2")
    store.close()
    with pytest.raises(ForeignStore, match="format b'2'"):
        VerdictStore(tmp_path, MAX_BYTES)
