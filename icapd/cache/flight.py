"""Single flight: identical bodies that are in flight at the same time share one scan.

Owns who waits for which work. Keeps no result: the work itself stores its report in the cache before it ends, so that
a caller who comes a moment later finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icapd.scan.model import CacheKey, ScanReport

Work = Callable[[], Coroutine[Deferred[Any], Any, ScanReport]]


class _Flight:
    """One piece of work under way and everyone who waits for it, each with a Deferred of its own."""

    __slots__ = ("waiters", "work")

    def __init__(self) -> None:
        self.waiters: dict[Deferred[ScanReport], None] = {}
        self.work: Deferred[ScanReport] | None = None


class SingleFlight:
    """Work by key, while it runs.

    State: `_flights` holds only work that has not ended and that somebody waits for; it is as bounded as the callers.
    """

    def __init__(self) -> None:
        self.shared = 0
        """Callers who did not need work of their own."""
        self._flights: dict[CacheKey, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def is_under_way(self, key: CacheKey) -> bool:
        """Whether somebody has started the work under `key`."""
        return key in self._flights

    async def share(self, key: CacheKey, start: Work) -> ScanReport:
        """The outcome of the work under `key`, which the first caller starts.

        Cancelling a caller takes away that caller alone, the first one too; when the last is gone the work is
        cancelled, because nobody wants it any more. `start` must own what the work needs, not borrow it from a
        caller who may go away.

        Raises: what the work raised, to everyone who waited for it.
        """
        flight = self._flights.get(key)
        waiter: Deferred[ScanReport] = Deferred()
        is_first = flight is None
        if flight is None:
            flight = self._flights[key] = _Flight()
        else:
            self.shared += 1
        flight.waiters[waiter] = None
        try:
            if is_first:
                flight.work = Deferred.fromCoroutine(start())
                flight.work.addBoth(self._land, key, flight)
            return await waiter
        finally:
            self._leave(key, flight, waiter)

    def _land(self, outcome: ScanReport | Failure, key: CacheKey, flight: _Flight) -> None:
        """Hands the outcome to everyone; swallows it when nobody is left. Must not raise: nobody is above it.

        One whom another's continuation cancels meanwhile is still in the loop: Deferred ignores the second call.
        """
        self._forget(key, flight)
        waiters, flight.waiters = flight.waiters, {}
        for waiter in waiters:
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)

    def _leave(self, key: CacheKey, flight: _Flight, waiter: Deferred[ScanReport]) -> None:
        """A caller is done. Before the work has landed that means it was cancelled."""
        if waiter not in flight.waiters:
            return
        del flight.waiters[waiter]
        if not flight.waiters:
            # Forgotten first: who comes now starts afresh and does not join work that is being cancelled.
            self._forget(key, flight)
            if flight.work is not None:
                flight.work.cancel()

    def _forget(self, key: CacheKey, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
