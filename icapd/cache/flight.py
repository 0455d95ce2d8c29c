"""Single flight: identical bodies that are in flight at the same time share one scan.

Owns who waits for which work. Keeps no result: the work itself stores its report in the cache before it ends, so that
a caller who comes a moment later finds it there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from icapd.scan.model import CacheKey

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """One piece of work under way and everyone who waits for it, each with a Deferred of its own."""

    __slots__ = ("waiters", "work")

    def __init__(self) -> None:
        self.waiters: dict[Deferred[Result], None] = {}
        self.work: Deferred[Result] | None = None


class SingleFlight(Generic[Result]):
    """Work by key, while it runs.

    State: `_flights` holds only work that has not ended and that somebody waits for; it is as bounded as the callers.
    """

    def __init__(self) -> None:
        self.shared = 0
        """Callers who did not need work of their own."""
        self._flights: dict[CacheKey, _Flight[Result]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def is_under_way(self, key: CacheKey) -> bool:
        """Whether somebody has started the work under `key`."""
        return key in self._flights

    def share(self, key: CacheKey, start: Callable[[], Deferred[Result]]) -> Deferred[Result]:
        """The outcome of the work under `key`, which the first caller starts.

        Cancelling a caller takes away that caller alone, the first one too; when the last is gone the work is
        cancelled, because nobody wants it any more. `start` must own what the work needs, not borrow it from a
        caller who may go away.

        Raises: through the Deferred, what the work raised, to everyone who waited for it.
        """
        flight = self._flights.get(key)
        if flight is not None:
            self.shared += 1
            return self._join(key, flight)
        flight = self._flights[key] = _Flight()
        waiter = self._join(key, flight)
        try:
            work = start()
        except Exception:  # whatever it is, it is the outcome
            work = fail(Failure())
        flight.work = work
        work.addBoth(self._land, key, flight)
        return waiter

    def _join(self, key: CacheKey, flight: _Flight[Result]) -> Deferred[Result]:
        waiter: Deferred[Result] = Deferred(partial(self._leave, key, flight))
        flight.waiters[waiter] = None
        return waiter

    def _land(self, outcome: Result | Failure, key: CacheKey, flight: _Flight[Result]) -> None:
        """Hands the outcome to everyone; swallows it when nobody is left. Must not raise: nobody is above it.

        One whom another's continuation cancels meanwhile is still in the loop, and has had its outcome.
        """
        self._forget(key, flight)
        waiters, flight.waiters = flight.waiters, {}
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(outcome)

    def _leave(self, key: CacheKey, flight: _Flight[Result], waiter: Deferred[Result]) -> None:
        """A caller was cancelled."""
        if waiter not in flight.waiters:
            return
        del flight.waiters[waiter]
        if not flight.waiters:
            # Forgotten first: who comes now starts afresh and does not join work that is being cancelled.
            self._forget(key, flight)
            if flight.work is not None:
                flight.work.cancel()

    def _forget(self, key: CacheKey, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
