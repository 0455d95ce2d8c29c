"""The memcached tier: records shared by all nodes, asked in threads, never waited for longer than `timeout_s`.

Owns the thread pool, the choice of server and the breakers. A slow, dead or lying server costs a miss, and after a
few of them nothing: while a server is left alone its keys go to the next one, and when all are, no thread is asked.
Look-ups that wait for a thread at the same moment go to their server as one command. Everything but `_run` and
`_run_lookups` happens in the reactor's thread; nothing here raises into it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from icapd.breaker import BreakerState
from icapd.cache.counters import TierCounters
from icapd.cache.record import RecordRefused, Signer, Stored, memcached_key
from icapd.cache.requests import Call, Command, Ending, Lookup, Reply, Request, Server, Trip, attempt
from icapd.config.schema import MemcachedCache
from icapd.reactor import DelayedCall
from icapd.scan.model import CacheKey, ScanReport

COMMANDS_PER_THREAD = 64
"""Commands that may wait or run, for each thread. At 60-100 us each, the last of them waits some 6 ms."""

LOOKUPS_PER_COMMAND = 32
"""Keys in one get at most: past some dozens the server's part of the time outweighs the connection's."""

SIZE_S = 15.0
"""How often the servers are asked how much they hold."""

SWITCH_INTERVAL_S = 0.0001
"""How long the reactor may keep the GIL from a thread that has an answer.

A reactor that is always busy gives the GIL away at every system call and takes it back at once, which starts the
waiting thread's interval anew: with Python's 5 ms, 1 lookup in 60 to 170 took longer than 50 ms, up to seconds, and
the server got the blame. With 0.5 ms some still did; with 0.1 ms none of 6,000 took longer than 20 ms.
"""

StateSink = Callable[[str, bool], None]
"""Told a server's name and whether it is in use, each time that changes. Must not raise."""


class Reactor(Protocol):
    """What this tier needs of Twisted's reactor."""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> DelayedCall: ...

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> None: ...


class MemcachedTier:
    """Records by key on the configured servers.

    State: between `start` and `stop` there is a thread pool; outside of it every lookup and store is skipped.
    `_waiting` holds what threads have not given back yet, also what is already settled by time-out.
    """

    def __init__(
        self,
        settings: MemcachedCache,
        signer: Signer,
        reactor: Reactor,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_state: StateSink = lambda server, in_use: None,
    ) -> None:
        self.counters = TierCounters()
        self._settings = settings
        self._signer = signer
        self._reactor = reactor
        self._monotonic = monotonic
        self._wall = wall
        self._on_state = on_state
        self._servers = [Server(name, settings) for name in settings.servers]
        self._pool: ThreadPool | None = None
        self._waiting: set[Request] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self._size_call: DelayedCall | None = None
        self._max_waiting = settings.threads * COMMANDS_PER_THREAD

    def start(self) -> None:
        """Starts the thread pool; after a fork, never before. Connections are made when first needed.

        Shortens the switch interval of the whole process.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._pool = ThreadPool(minthreads=0, maxthreads=self._settings.threads, name="memcached")
        self._pool.start()
        self._size_call = self._reactor.callLater(SIZE_S, self._ask_sizes)

    def stop(self) -> None:
        """Settles what waits. Threads end when their commands do, and nobody waits for that: this is called while a
        front serves, when a reload names other servers, and a resolver may take many seconds."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._size_call is not None and self._size_call.active():
            self._size_call.cancel()
        for request in tuple(self._waiting):
            self._settle(request, Reply(Ending.WITHDRAWN))
        threading.Thread(target=self._end, args=(pool,), name="memcached-end", daemon=True).start()

    def _end(self, pool: ThreadPool) -> None:
        """In a thread of its own, as it waits for the others."""
        pool.stop()
        if self._pool is None:
            for server in self._servers:
                server.connections.close()

    @property
    def servers_left_alone(self) -> int:
        """How many servers are not in use at the moment."""
        return sum(server.breaker.state is not BreakerState.CLOSED for server in self._servers)

    async def get(self, key: CacheKey) -> Stored | None:
        """The record under a key, if a server has one that verifies. Never raises, never outlasts `timeout_s`."""
        server = self._choose(key)
        if server is None or len(self._waiting) >= self._max_waiting:
            self.counters.skipped += 1
            return None
        started = time.perf_counter()
        reply = await self._look_up(server, memcached_key(key))
        self.counters.lookup_s += time.perf_counter() - started
        match reply.ending:
            case Ending.FAILED:
                self.counters.errors += 1
            case Ending.WITHDRAWN:
                self.counters.skipped += 1
            case Ending.ANSWERED if isinstance(reply.data, bytes):
                return self._believe(key, reply.data)
            case Ending.ANSWERED:
                self.counters.misses += 1
        return None

    def put(self, key: CacheKey, report: ScanReport, ttl_s: int) -> None:
        """Sends a record on its way; nobody waits for it.

        Stores may fill half of what may wait, so that they never crowd out lookups.
        """
        server = self._choose(key)
        if server is None or len(self._waiting) >= self._max_waiting // 2:
            self.counters.stores_skipped += 1
            return
        try:
            data = self._signer.seal(key, report, int(self._wall()) + ttl_s)
        except RecordRefused:
            self.counters.stores_skipped += 1
            return
        name = memcached_key(key)
        self._ask(server, lambda connections: connections.set(name, data, expire=ttl_s)).addCallback(
            self._count_store
        )

    def _choose(self, key: CacheKey) -> Server | None:
        if self._pool is None:
            return None
        now = self._monotonic()
        admitted = [server for server in self._servers if server.breaker.admits(now)]
        if len(admitted) < 2:
            return admitted[0] if admitted else None
        return max(admitted, key=lambda server: server.weight(key.sha256))

    def _believe(self, key: CacheKey, data: bytes) -> Stored | None:
        """A refused record stays where it is: the report of the scan that follows overwrites it."""
        try:
            stored = self._signer.open_record(key, data, self._wall())
        except RecordRefused as refusal:
            self.counters.count_refusal(refusal.reason)
            return None
        self.counters.hits += 1
        return stored

    def _count_store(self, reply: Reply) -> None:
        match reply.ending:
            case Ending.ANSWERED if reply.data is True:
                self.counters.stored += 1
            case Ending.WITHDRAWN:
                self.counters.stores_skipped += 1
            case _:
                self.counters.store_errors += 1

    def _ask(self, server: Server, call: Call) -> Deferred[Reply]:
        assert self._pool is not None
        command = Command(server, call)
        self._set_out(command)
        self._pool.callInThread(self._run, command)
        return command.deferred

    def _look_up(self, server: Server, name: bytes) -> Deferred[Reply]:
        """Joins those who wait for a thread; one who finds nobody there calls for the next thread that is free."""
        lookup = Lookup(server, name)
        self._set_out(lookup)
        server.lookups.append(lookup)
        self._call_for_thread(server)
        return lookup.deferred

    def _set_out(self, request: Request) -> None:
        self._waiting.add(request)
        self._tell(request.server, request.server.breaker.begin)
        request.timer = self._reactor.callLater(self._settings.timeout_s, self._time_out, request)

    def _call_for_thread(self, server: Server) -> None:
        if not server.has_run_queued and self._pool is not None:
            server.has_run_queued = True
            self._pool.callInThread(self._run_lookups, server)

    def _run(self, command: Command) -> None:
        """In a pool thread. A command that was settled while it waited is only given back."""
        reply = Reply(Ending.WITHDRAWN)
        if command.reply is None:
            command.trip = Trip()
            reply = attempt(command.server, command.call)
        self._reactor.callFromThread(self._give_back, [(command, reply)])

    def _run_lookups(self, server: Server) -> None:
        """In a pool thread: everybody who waits, in one command."""
        server.has_run_queued = False  # who comes from here on calls for another
        taken: list[Lookup] = []
        while len(taken) < LOOKUPS_PER_COMMAND and server.lookups:
            try:
                taken.append(server.lookups.popleft())
            except IndexError:  # another thread was faster
                break
        if server.lookups:
            self._reactor.callFromThread(self._call_for_thread, server)
        trip = Trip()
        asked = [lookup for lookup in taken if lookup.reply is None]
        for lookup in asked:
            lookup.trip = trip
        reply = Reply(Ending.WITHDRAWN)
        if asked:
            names = [lookup.name for lookup in asked]
            reply = attempt(server, lambda connections: connections.get_many(names))
        found = reply.data if isinstance(reply.data, dict) else {}
        replies = [(lookup, Reply(reply.ending, found.get(lookup.name))) for lookup in taken]
        self._reactor.callFromThread(self._give_back, replies)

    def _give_back(self, replies: Sequence[tuple[Request, Reply]]) -> None:
        for request, reply in replies:
            self._waiting.discard(request)
            self._settle(request, reply)

    def _time_out(self, request: Request) -> None:
        # One that never started waited for threads, not for its server.
        self._settle(request, Reply(Ending.WITHDRAWN if request.trip is None else Ending.FAILED))

    def _settle(self, request: Request, reply: Reply) -> None:
        if request.reply is not None:
            return
        request.reply = reply
        if request.timer is not None and request.timer.active():
            request.timer.cancel()
        self._tell_breaker(request, reply.ending)
        request.deferred.callback(reply)

    def _tell_breaker(self, request: Request, ending: Ending) -> None:
        """Once for each command, however many look-ups shared it."""
        server, trip = request.server, request.trip
        if ending is Ending.WITHDRAWN:
            self._tell(server, server.breaker.withdrawn)
        elif trip is not None and not trip.is_told:
            trip.is_told = True
            failed = ending is Ending.FAILED
            self._tell(
                server, lambda: server.breaker.failed(self._monotonic()) if failed else server.breaker.succeeded()
            )

    # How much the servers hold

    def _ask_sizes(self) -> None:
        self._size_call = self._reactor.callLater(SIZE_S, self._ask_sizes)
        now = self._monotonic()
        for server in self._servers:
            if server.breaker.admits(now) and len(self._waiting) < self._max_waiting // 2:
                self._ask(server, lambda connections: connections.stats()).addCallback(self._take_size, server)
            else:
                self._sizes.pop(server.name, None)

    def _take_size(self, reply: Reply, server: Server) -> None:
        self._sizes.pop(server.name, None)
        if isinstance(reply.data, dict):
            items, size_bytes = (reply.data.get(name) for name in (b"curr_items", b"bytes"))
            if isinstance(items, int) and isinstance(size_bytes, int):
                self._sizes[server.name] = items, size_bytes
        self.counters.entries = sum(items for items, _ in self._sizes.values())
        self.counters.size_bytes = sum(size_bytes for _, size_bytes in self._sizes.values())

    def _tell(self, server: Server, event: Callable[[], None]) -> None:
        """A failed probe changes nothing for the operator, so an outage is reported once when it begins and ends."""
        was_in_use = server.breaker.state is BreakerState.CLOSED
        event()
        if (is_in_use := server.breaker.state is BreakerState.CLOSED) is not was_in_use:
            self._on_state(server.name, is_in_use)
