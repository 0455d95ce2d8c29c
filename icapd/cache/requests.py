"""What goes to a memcached server and what comes back: servers, requests, and how they end. Decides nothing."""

from __future__ import annotations

import enum
import hashlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred

from icapd.breaker import Breaker
from icapd.cache.client import BoundedPool, server_address
from icapd.config.schema import MemcachedCache
from icapd.reactor import DelayedCall


class Ending(enum.Enum):
    """How a command ended. WITHDRAWN: it never reached the server, which therefore is not to blame."""

    ANSWERED = enum.auto()
    FAILED = enum.auto()
    WITHDRAWN = enum.auto()


class Reply(NamedTuple):
    ending: Ending
    data: object = None


class Server:
    """One memcached server: its connections, its breaker, and its seed for the choice among servers."""

    def __init__(self, name: str, settings: MemcachedCache) -> None:
        self.name = name
        self.connections = BoundedPool(server_address(name), settings.timeout_s, settings.threads)
        self.breaker = Breaker(settings.failures_before_open, settings.retry_s)
        self.lookups: deque[Lookup] = deque()
        """What waits for a thread, which takes as much of it as it can."""
        self.has_run_queued = False
        """Whether a thread will look at `lookups` that has not begun to."""
        self._seed = hashlib.blake2b(name.encode(), digest_size=8)

    def weight(self, sha256: bytes) -> bytes:
        """Rendezvous hashing: the heaviest server holds the key, on every node and in any order of the list."""
        digest = self._seed.copy()
        digest.update(sha256)
        return digest.digest()


class Trip:
    """One command on the wire, and whether its server's breaker was told how it ended."""

    __slots__ = ("is_told",)

    def __init__(self) -> None:
        self.is_told = False


class Request:
    """What somebody waits for: a command of its own, or a look-up that shares one with others.

    State: `reply` is None until it is settled, which happens once. `trip` is set by the thread that begins it.
    """

    __slots__ = ("deferred", "reply", "server", "timer", "trip")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.deferred: Deferred[Reply] = Deferred()
        self.timer: DelayedCall | None = None
        self.trip: Trip | None = None
        self.reply: Reply | None = None


Call = Callable[[BoundedPool], object]


class Command(Request):
    """A call on its way through the thread pool."""

    __slots__ = ("call",)

    def __init__(self, server: Server, call: Call) -> None:
        super().__init__(server)
        self.call = call


class Lookup(Request):
    """A key on its way, with others, to its server."""

    __slots__ = ("name",)

    def __init__(self, server: Server, name: bytes) -> None:
        super().__init__(server)
        self.name = name


def attempt(server: Server, call: Call) -> Reply:
    """In a pool thread."""
    try:
        return Reply(Ending.ANSWERED, call(server.connections))
    except Exception:
        # A border: pymemcache parses the server's bytes with int(), split() and dict lookups, and any of them may
        # raise. Whatever it was, the server did not answer.
        return Reply(Ending.FAILED)
