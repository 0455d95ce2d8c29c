"""The memcached tier: records shared by all nodes, asked in threads, never waited for longer than `timeout_s`.

Owns the thread pool, the choice of server and the breakers. A slow, dead or lying server costs a miss, and after a
few of them nothing: while a server is left alone its keys go to the next one, and when all are, no thread is asked.
Everything but `_run` happens in the reactor's thread; nothing here raises into it.
"""

from __future__ import annotations

import enum
import hashlib
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from icapd.cache.breaker import Breaker, BreakerState
from icapd.cache.client import BoundedPool, server_address
from icapd.cache.counters import TierCounters
from icapd.cache.record import RecordRefused, Signer, Stored, memcached_key
from icapd.config.schema import MemcachedCache
from icapd.reactor import DelayedCall
from icapd.scan.model import CacheKey, ScanReport

COMMANDS_PER_THREAD = 64
"""Commands that may wait or run, for each thread. At 60-100 us each, the last of them waits some 6 ms."""

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


class _Ending(enum.Enum):
    """How a command ended. WITHDRAWN: it never reached the server, which therefore is not to blame."""

    ANSWERED = enum.auto()
    FAILED = enum.auto()
    WITHDRAWN = enum.auto()


class _Reply(NamedTuple):
    ending: _Ending
    data: bytes | bool | None = None


class _Server:
    """One memcached server: its connections, its breaker, and its seed for the choice among servers."""

    def __init__(self, name: str, settings: MemcachedCache) -> None:
        self.name = name
        self.connections = BoundedPool(server_address(name), settings.timeout_s, settings.threads)
        self.breaker = Breaker(settings.failures_before_open, settings.retry_s)
        self._seed = hashlib.blake2b(name.encode(), digest_size=8)

    def weight(self, sha256: bytes) -> bytes:
        """Rendezvous hashing: the heaviest server holds the key, on every node and in any order of the list."""
        digest = self._seed.copy()
        digest.update(sha256)
        return digest.digest()


Call = Callable[[BoundedPool], bytes | bool | None]


class _Command:
    """One call on its way through the thread pool.

    State: `reply` is None until the command is settled, which happens once. `has_started` is set by the thread.
    """

    __slots__ = ("call", "deferred", "has_started", "reply", "server", "timer")

    def __init__(self, server: _Server, call: Call) -> None:
        self.server = server
        self.call = call
        self.deferred: Deferred[_Reply] = Deferred()
        self.timer: DelayedCall | None = None
        self.has_started = False
        self.reply: _Reply | None = None


class MemcachedTier:
    """Records by key on the configured servers.

    State: between `start` and `stop` there is a thread pool; outside of it every lookup and store is skipped.
    `_waiting` holds the commands that threads have not given back yet, also those already settled by time-out.
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
        self._servers = [_Server(name, settings) for name in settings.servers]
        self._pool: ThreadPool | None = None
        self._waiting: set[_Command] = set()
        self._max_waiting = settings.threads * COMMANDS_PER_THREAD

    def start(self) -> None:
        """Starts the thread pool; after a fork, never before. Connections are made when first needed.

        Shortens the switch interval of the whole process.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._pool = ThreadPool(minthreads=0, maxthreads=self._settings.threads, name="memcached")
        self._pool.start()

    def stop(self) -> None:
        """Settles what waits and ends the threads; blocks for a command's time-out at most, bar a resolver's."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for command in tuple(self._waiting):
            self._settle(command, _Reply(_Ending.WITHDRAWN))
        pool.stop()
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
        name = memcached_key(key)
        started = time.perf_counter()
        reply = await self._ask(server, lambda connections: connections.get(name))
        self.counters.lookup_s += time.perf_counter() - started
        match reply.ending:
            case _Ending.FAILED:
                self.counters.errors += 1
            case _Ending.WITHDRAWN:
                self.counters.skipped += 1
            case _Ending.ANSWERED if isinstance(reply.data, bytes):
                return self._believe(key, reply.data)
            case _Ending.ANSWERED:
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

    def _choose(self, key: CacheKey) -> _Server | None:
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

    def _count_store(self, reply: _Reply) -> None:
        match reply.ending:
            case _Ending.ANSWERED if reply.data is True:
                self.counters.stored += 1
            case _Ending.WITHDRAWN:
                self.counters.stores_skipped += 1
            case _:
                self.counters.store_errors += 1

    def _ask(self, server: _Server, call: Call) -> Deferred[_Reply]:
        assert self._pool is not None
        command = _Command(server, call)
        self._waiting.add(command)
        self._tell(server, server.breaker.begin)
        command.timer = self._reactor.callLater(self._settings.timeout_s, self._time_out, command)
        self._pool.callInThread(self._run, command)
        return command.deferred

    def _run(self, command: _Command) -> None:
        """In a pool thread. A command that was settled while it waited is only given back."""
        reply = _Reply(_Ending.WITHDRAWN)
        if command.reply is None:
            command.has_started = True
            try:
                reply = _Reply(_Ending.ANSWERED, command.call(command.server.connections))
            except Exception:
                # A border: pymemcache parses the server's bytes with int(), split() and dict lookups, and any of
                # them may raise. Whatever it was, the server did not answer.
                reply = _Reply(_Ending.FAILED)
        self._reactor.callFromThread(self._give_back, command, reply)

    def _give_back(self, command: _Command, reply: _Reply) -> None:
        self._waiting.discard(command)
        self._settle(command, reply)

    def _time_out(self, command: _Command) -> None:
        # One that never started waited for threads, not for its server.
        self._settle(command, _Reply(_Ending.FAILED if command.has_started else _Ending.WITHDRAWN))

    def _settle(self, command: _Command, reply: _Reply) -> None:
        if command.reply is not None:
            return
        command.reply = reply
        if command.timer is not None and command.timer.active():
            command.timer.cancel()
        breaker = command.server.breaker
        match reply.ending:
            case _Ending.ANSWERED:
                self._tell(command.server, breaker.succeeded)
            case _Ending.FAILED:
                self._tell(command.server, lambda: breaker.failed(self._monotonic()))
            case _Ending.WITHDRAWN:
                self._tell(command.server, breaker.withdrawn)
        command.deferred.callback(reply)

    def _tell(self, server: _Server, event: Callable[[], None]) -> None:
        """A failed probe changes nothing for the operator, so an outage is reported once when it begins and ends."""
        was_in_use = server.breaker.state is BreakerState.CLOSED
        event()
        if (is_in_use := server.breaker.state is BreakerState.CLOSED) is not was_in_use:
            self._on_state(server.name, is_in_use)
