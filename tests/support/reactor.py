"""Twisted's real reactor inside plain pytest functions: `wait_for` runs it until one result is there.

The reactor of a process cannot be run again after `stop`, but it can after `crash`, which is how trial does it too.
Signal handlers stay pytest's. What a test leaves in the reactor is still there in the next one: stop what you start.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from twisted.internet import reactor as installed
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

Result = TypeVar("Result")

reactor = cast(ReactorBase, installed)

POLL_S = 0.001
GIVE_UP_S = 60.0
"""No check of how fast anything is: on a machine with other things to do, a process may take ten to start."""


def wait_for(
    awaited: Deferred[Result] | Coroutine[Deferred[Any], Any, Result], timeout_s: float = GIVE_UP_S
) -> Result:
    """Runs the reactor until the result is there and returns it.

    Raises: what the Deferred or coroutine failed with; TimeoutError, after cancelling it, when the time is over.
    """
    deferred = awaited if isinstance(awaited, Deferred) else Deferred.fromCoroutine(awaited)
    outcomes: list[Result | Failure] = []

    def arrived(outcome: Result | Failure) -> None:
        outcomes.append(outcome)
        if reactor.running:
            reactor.crash()

    deferred.addBoth(arrived)
    if not outcomes:
        ceiling = reactor.callLater(timeout_s, reactor.crash)
        reactor.run(installSignalHandlers=False)
        if ceiling.active():
            ceiling.cancel()
    if not outcomes:
        deferred.cancel()
        raise TimeoutError(f"no result within {timeout_s:g} s")
    outcome = outcomes[0]
    if isinstance(outcome, Failure):
        outcome.raiseException()
    return outcome


def wait_until(condition: Callable[[], object], timeout_s: float = GIVE_UP_S) -> None:
    """Runs the reactor until the condition holds.

    Raises: TimeoutError when it does not come true in time.
    """

    async def poll() -> None:
        while not condition():
            tick: Deferred[None] = Deferred()
            reactor.callLater(POLL_S, tick.callback, None)
            await tick

    try:
        wait_for(poll(), timeout_s)
    except (TimeoutError, CancelledError) as late:
        raise TimeoutError(f"the condition did not come true within {timeout_s:g} s") from late
