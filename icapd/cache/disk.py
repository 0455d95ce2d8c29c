"""The disk tier: what a restart must not forget and all fronts of a server share.

Reads in the reactor's thread: a look-up is one in the mapped file, and waits for nobody. Writes in a thread: LMDB
lets one process write at a time, and a disk may be slow; so what is stored goes out in batches, and nobody waits.

State: the reactor's side has `_store` while it may be read; the thread's side has `_opened` while it is open. The
thread closes nothing before the reactor's side has let go. Counters are changed in the reactor's thread alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import lmdb
import msgspec

from icapd.breaker import Breaker, BreakerState
from icapd.cache.counters import TierCounters
from icapd.cache.directory import Opened, close_store, open_store
from icapd.cache.record import RecordRefused, Signer, Stored
from icapd.cache.store import DAMAGE, Entry, Pending, Usage, VerdictStore, Written, entry_name
from icapd.scan.model import CacheKey, ScanReport

FLUSH_S = 0.1
LOOK_S = 1.0
"""How often is looked what other processes did: a purge, a database set aside."""
SWEEP_S = 0.2
SYNC_S = 5.0
RETRY_S = 5.0
STOP_S = 2.0
MAX_PENDING = 4096
"""Entries that may wait to be written, a few MB: at 5,000 a second, 0.8 s."""

FAILURES_BEFORE_REST = 3


class Reactor(Protocol):
    """What this tier needs of Twisted's reactor."""

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> None: ...


class DiskEvents(Protocol):
    """Who is told what becomes of the tier; in the reactor's thread. Must not raise."""

    def on_disk_state(self, state: str, detail: str) -> None: ...

    def on_disk_opened(self) -> None: ...

    def on_purged(self) -> None: ...


class DiskTier:
    """Records by key in one directory."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        signer: Signer,
        reactor: Reactor,
        events: DiskEvents,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.counters = TierCounters()
        self._signer = signer
        self._wall = wall
        self._store: VerdictStore | None = None
        self._generation = 0
        self._events = events
        self._pending: deque[Pending] = deque()
        self._writer = _Writer(directory, max_bytes, reactor, self, self._pending, wall)

    def start(self) -> None:
        """Starts the thread, which opens the database; after a fork, never before."""
        self._writer.start()

    def stop(self) -> None:
        """Writes what waits and closes. Blocks for STOP_S at most: what is not on the disk by then stays behind."""
        self._store = None
        self._writer.end()

    def get(self, key: CacheKey) -> Stored | None:
        """The record under a key, if there is one that verifies. Never raises, never waits for who writes."""
        store, counters = self._store, self.counters
        if store is None:
            counters.skipped += 1
            return None
        started = time.perf_counter()
        try:
            entry = store.get(entry_name(key))
            if entry is None:
                counters.misses += 1
                return None
            stored = self._signer.open_record(key, entry.record, self._wall())
            counters.hits += 1
        except RecordRefused as refusal:
            counters.count_refusal(refusal.reason)
            return None
        except msgspec.DecodeError:
            counters.refused += 1
            return None
        except lmdb.Error as error:
            counters.errors += 1
            self._store = None
            self._writer.reading_failed(error)
            return None
        finally:
            counters.lookup_s += time.perf_counter() - started
        return stored

    def put(self, key: CacheKey, report: ScanReport, expires_at_s: int) -> None:
        """Sends a record on its way; nobody waits for it."""
        if self._store is None or len(self._pending) >= MAX_PENDING:
            self.counters.stores_skipped += 1
            return
        try:
            record = self._signer.seal(key, report, expires_at_s)
        except RecordRefused:
            self.counters.stores_skipped += 1
            return
        entry = Entry(expires_at_s, key.size_bytes, key.ruleset, key.coding, record)
        self._pending.append(Pending(entry_name(key), self._generation, entry))

    def longest_living(self, before: bytes, limit: int) -> tuple[bytes, list[tuple[CacheKey, Stored]]]:
        """The next records that verify, latest end of life first, and the place to go on from; "" at the end."""
        if self._store is None:
            return b"", []
        try:
            found = self._store.longest_living(before, limit)
        except lmdb.Error as error:
            self._store = None
            self._writer.reading_failed(error)
            return b"", []
        records: list[tuple[CacheKey, Stored]] = []
        for _, name, entry in found:
            key = entry.key(name)
            try:
                records.append((key, self._signer.open_record(key, entry.record, self._wall())))
            except RecordRefused as refusal:
                self.counters.count_refusal(refusal.reason)
        return found[-1][0] if found else b"", records

    # Called by the thread, in the reactor's

    def opened(self, store: VerdictStore, generation: int) -> None:
        self._store = store
        self.looked(generation, None)
        self._events.on_disk_opened()

    def let_go(self, done: threading.Event) -> None:
        self._store = None
        done.set()

    def looked(self, generation: int, usage: Usage | None) -> None:
        if usage is not None:
            self.counters.entries, self.counters.size_bytes = usage
        if generation != self._generation:
            self._generation = generation
            self._events.on_purged()

    def written(self, written: Written) -> None:
        self.counters.stored += written.stored
        self.counters.stores_skipped += written.stale
        self.counters.evicted += written.evicted

    def not_written(self, entries: int, skipped: int) -> None:
        self.counters.store_errors += entries
        self.counters.stores_skipped += skipped

    def tell(self, state: str, detail: str) -> None:
        self._events.on_disk_state(state, detail)


class _Writer:
    """The thread. Opens, writes, sweeps, makes durable; nothing else does."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        reactor: Reactor,
        tier: DiskTier,
        pending: deque[Pending],
        wall: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._reactor = reactor
        self._tier = tier
        self._pending = pending
        self._wall = wall
        self._opened: Opened | None = None
        self._fault: lmdb.Error | None = None
        self._told = ("", "")
        self._breaker = Breaker(FAILURES_BEFORE_REST, RETRY_S)
        self._open_at = self._look_at = self._sweep_at = self._sync_at = 0.0
        self._ending = threading.Event()
        # A daemon: a process that was stopped while it wrote must not keep ours from ending.
        self._thread = threading.Thread(target=self._run, name="cache-disk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        if self._thread.is_alive():
            self._ending.set()
            self._thread.join(STOP_S)

    def reading_failed(self, error: lmdb.Error) -> None:
        """The reactor's side has let go: the database is opened anew, or a fresh one in its place."""
        self._fault = error

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            try:
                self._turn(time.monotonic())
            except Exception as error:  # the border: without this thread the tier would grow old unnoticed
                self._lose(error)
            is_ending = self._ending.wait(FLUSH_S)
        try:
            self._flush(time.monotonic())
        except Exception as error:
            self._lose(error)
        self._close(is_damaged=False)

    def _turn(self, now: float) -> None:
        if self._opened is None:
            if now >= self._open_at:
                self._open(now)
            return
        if self._opened.store.is_replaced:
            self._lose(None)
            return
        if self._opened.store.is_cut_off:
            raise lmdb.CorruptedError("the file was cut off")
        if self._fault is not None:
            self._lose(self._fault)
            return
        self._flush(now)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look(self._opened.store)
        if self._breaker.state is BreakerState.CLOSED:
            self._keep_in_order(now, self._opened.store)

    def _open(self, now: float) -> None:
        self._open_at = now + RETRY_S
        self._opened = open_store(self._directory, self._max_bytes, lambda fault: self._tell("set aside", fault))
        if self._told[0] == "not usable":
            self._tell("in use again", "")
        self._fault = None
        self._look_at = now
        self._call(self._tier.opened, self._opened.store, self._opened.store.generation())

    def _look(self, store: VerdictStore) -> None:
        store.free_dead_readers()
        self._call(self._tier.looked, store.generation(), store.usage())

    def _keep_in_order(self, now: float, store: VerdictStore) -> None:
        """What can wait while the disk refuses."""
        try:
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_S
                store.sweep(self._wall())
            if now >= self._sync_at:
                self._sync_at = now + SYNC_S
                store.sync()
        except DAMAGE:
            raise
        except lmdb.Error as error:
            self._failed(now, error)

    def _flush(self, now: float) -> None:
        """Bounded, so that other duties have their turn however much comes meanwhile."""
        for _ in range(len(self._pending)):
            if not self._pending or self._opened is None:
                return
            batch = self._next_batch(self._opened.store.batch_entries)
            if not self._breaker.admits(now):
                self._call(self._tier.not_written, 0, len(batch))
                continue
            self._breaker.begin()
            try:
                written = self._opened.store.write(batch)
            except DAMAGE:
                self._call(self._tier.not_written, len(batch), 0)
                raise
            except lmdb.Error as error:
                self._call(self._tier.not_written, len(batch), 0)
                self._failed(now, error)
            else:
                self._call(self._tier.written, written)
                self._succeeded()

    def _next_batch(self, limit: int) -> list[Pending]:
        """Bounded by entries, and by bytes: a small part of the file, so that room can be made for it."""
        batch: list[Pending] = []
        left_bytes = self._max_bytes // 32
        while self._pending and len(batch) < limit and left_bytes > 0:
            batch.append(self._pending.popleft())
            left_bytes -= len(batch[-1].entry.record)
        return batch

    def _failed(self, now: float, error: lmdb.Error) -> None:
        was_closed = self._breaker.state is BreakerState.CLOSED
        self._breaker.failed(now)
        if isinstance(error, lmdb.MapFullError) and self._opened is not None:
            self._opened.store.evict()
        if was_closed and self._breaker.state is BreakerState.OPEN:
            self._tell("not writable", str(error))

    def _succeeded(self) -> None:
        was_probe = self._breaker.state is BreakerState.PROBING
        self._breaker.succeeded()
        if was_probe:
            self._tell("writable again", "")

    def _lose(self, error: Exception | None) -> None:
        """Closes what cannot be used any more; it is opened again, damaged ones afresh."""
        # Where not even dropping entries finds a free page, the file is lost, too.
        is_damaged = isinstance(error, (*DAMAGE, lmdb.MapFullError))
        if error is not None:
            self._tell("set aside" if is_damaged else "not usable", str(error))
        self._close(is_damaged=is_damaged)
        self._open_at = time.monotonic() + (0 if error is None or is_damaged else RETRY_S)

    def _close(self, *, is_damaged: bool) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if not self._ending.is_set():
            done = threading.Event()
            self._call(self._tier.let_go, done)
            while not (done.wait(FLUSH_S) or self._ending.is_set()):
                pass
        try:
            close_store(self._directory, opened, is_damaged=is_damaged)
        except (lmdb.Error, OSError) as error:
            self._tell("not usable", str(error))

    def _tell(self, state: str, detail: str) -> None:
        """Once for each change, not for each attempt."""
        if (state, detail) != self._told:
            self._told = (state, detail)
            self._call(self._tier.tell, state, detail)

    def _call(self, call: Callable[..., object], *args: object) -> None:
        self._reactor.callFromThread(call, *args)
