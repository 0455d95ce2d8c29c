"""A circuit breaker for one server: after failures in a row it is left alone, then probed with one command.

Pure: the time is given.
"""

from __future__ import annotations

import enum


class BreakerState(enum.Enum):
    """CLOSED: the server is used. OPEN: it is left alone. PROBING: one command finds out whether it is back."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """Decides whether a server may be asked.

    State: `state`, the failures in a row while CLOSED, and the time until which OPEN lasts at least.
    Units: `now` and `retry_s` in seconds of one monotonic clock.
    """

    __slots__ = ("_failures", "_failures_before_open", "_open_until", "_retry_s", "state")

    def __init__(self, failures_before_open: int, retry_s: float) -> None:
        self.state = BreakerState.CLOSED
        self._failures_before_open = failures_before_open
        self._retry_s = retry_s
        self._failures = 0
        self._open_until = 0.0

    def admits(self, now: float) -> bool:
        """Whether a command may begin now. Changes nothing."""
        if self.state is BreakerState.OPEN:
            return now >= self._open_until
        return self.state is BreakerState.CLOSED

    def begin(self) -> None:
        """An admitted command sets out; while OPEN it is the probe."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.PROBING

    def succeeded(self) -> None:
        """A command was answered. A late answer while OPEN proves nothing: only the probe closes the breaker."""
        if self.state is not BreakerState.OPEN:
            self.state = BreakerState.CLOSED
            self._failures = 0

    def failed(self, now: float) -> None:
        """A command failed. While OPEN this is an old one's end and does not prolong the wait."""
        if self.state is BreakerState.OPEN:
            return
        self._failures += 1
        if self.state is BreakerState.PROBING or self._failures >= self._failures_before_open:
            self.state = BreakerState.OPEN
            self._failures = 0
            self._open_until = now + self._retry_s

    def withdrawn(self) -> None:
        """A command that had begun never reached the server: if it was the probe, the next one may be it."""
        if self.state is BreakerState.PROBING:
            self.state = BreakerState.OPEN
