"""When a client has stopped in mid-body, and how often it is woken: the clock behind drips."""

from __future__ import annotations

from collections.abc import Callable

from icapd.reactor import DelayedCall, Reactor

PLAIN_DRIPS = 2
"""Of one stall at the plain interval: Squid before 6.14 wakes at once. Who does not is slow for another reason."""
_DOUBLINGS_MAX = 16


class Stall:
    """Calls `drip` when nothing has come for `stall_s`, at most `drips_max` times, and `more` often as a body grows.

    Within one stall the interval doubles from the third drip on, so that a slow origin costs few of them; a piece of
    the body that comes in ends the stall. `drip` says whether it had a byte to send.

    State: `_timer` while one is awaited; `_drips` so far in all, `_in_a_row` of them in this stall; `_is_over` once
    there is to be none any more.
    """

    __slots__ = ("_drip", "_drips", "_drips_max", "_in_a_row", "_is_over", "_more", "_reactor", "_stall_s", "_timer")

    def __init__(self, reactor: Reactor, stall_s: float, drips_max: int, drip: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._stall_s = stall_s
        self._drips_max = drips_max
        self._drip = drip
        self._drips = 0
        self._in_a_row = 0
        self._more = 0
        self._is_over = False
        self._timer: DelayedCall | None = None

    def restart(self, more: int = 0) -> None:
        """A piece of the body came in: the wait begins anew."""
        self._in_a_row = 0
        self._more = more
        self._await()

    def _await(self) -> None:
        if self._is_over or self._drips >= self._drips_max + self._more:
            return
        doublings = min(max(0, self._in_a_row - PLAIN_DRIPS + 1), _DOUBLINGS_MAX)
        interval_s = self._stall_s * 2**doublings
        if self._timer is None:
            self._timer = self._reactor.callLater(interval_s, self._expire)
        else:
            self._timer.reset(interval_s)

    def end(self) -> None:
        """No more drips."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._drip():
            self._drips += 1
            self._in_a_row += 1
            self._await()
