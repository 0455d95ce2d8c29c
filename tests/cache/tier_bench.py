"""The memcached tier on a bench: started, with a clock of its own, and waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icapd.cache.memcached import MemcachedTier
from icapd.cache.record import Signer, Stored
from icapd.config.schema import MemcachedCache
from icapd.scan.model import CacheKey, ScanReport
from tests.cache.samples import SECRET, cache_key, clean_report
from tests.support.reactor import reactor, wait_for, wait_until

KEY = cache_key()
SIGNER = Signer(SECRET)
TIMEOUT_S = 0.15
"""For servers that hang. Where the server answers, a busy machine must not turn a hit into an error."""
RETRY_S = 60.0

StartTier = Callable[..., "Bench"]


class Bench:
    """A started tier with a clock of its own for retries, and what it told about its servers."""

    def __init__(self, servers: list[str], **settings: Any) -> None:
        self.clock = Clock()
        self.states: list[tuple[str, bool]] = []
        defaults: dict[str, Any] = {"timeout_s": 5, "retry_s": RETRY_S, "failures_before_open": 3}
        self.tier = MemcachedTier(
            MemcachedCache(servers=servers, **(defaults | settings)),
            SIGNER,
            reactor,
            monotonic=self.clock.seconds,
            on_state=lambda server, in_use: self.states.append((server, in_use)),
        )
        self.tier.start()

    def get(self, key: CacheKey = KEY) -> Stored | None:
        return wait_for(self.tier.get(key))

    def put(self, key: CacheKey = KEY, report: ScanReport | None = None, ttl_s: int = 600) -> None:
        """Stores and waits until it is counted."""
        counters = self.tier.counters

        def stores() -> int:
            return counters.stored + counters.store_errors + counters.stores_skipped

        before = stores()
        self.tier.put(key, report or clean_report(), ttl_s)
        wait_until(lambda: stores() > before)

    def open_breaker(self) -> None:
        for _ in range(3):
            assert self.get() is None
        assert self.tier.servers_left_alone == 1


def begun(bench: Bench, key: CacheKey) -> Deferred[Stored | None]:
    """A look-up that a thread has taken."""
    deferred = Deferred.fromCoroutine(bench.tier.get(key))
    wait_until(lambda: all(request.trip for request in bench.tier._waiting))
    return deferred
