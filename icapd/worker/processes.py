"""Starting icapd's own child processes from a reactor: which module, which descriptors, which environment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from icapd.reactor import Reactor

# Children with many rules ran twice as slow until glibc stopped giving memory back and asking for it again.
_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TOP_PAD_": str(4 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
}
# numpy's BLAS would start threads, and a process with threads must not fork.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

NOT_STARTED = 126
"""The exit code of a child that could not be started, as shells have it."""

DEATHS: dict[int, tuple[str, str]] = {
    signal.SIGSYS: ("sandbox", "the sandbox stopped it"),
    signal.SIGXCPU: ("cpu", "its CPU time was over"),
}
"""Deaths that are no crash, by signal: as metrics name them, and as events do."""

_BACK_OFF_MAX_S = 5.0
_DOUBLINGS_MAX = 20


def back_off_s(first_s: float, failures: int) -> float:
    """The pause after so many failures before: twice as long each time, up to 5 s."""
    return min(first_s * float(2 ** min(failures, _DOUBLINGS_MAX)), _BACK_OFF_MAX_S)


class Ended(NamedTuple):
    """How a child ended; `error` is why it never ran."""

    exit_code: int
    signal_number: int
    error: str = ""

    def fields(self) -> dict[str, str | float | None]:
        """The same for an event."""
        return {"exit_code": self.exit_code, "signal": self.signal_number, "error": self.error or None}


class _Child(ProcessProtocol):
    def __init__(self, on_exit: Callable[[Ended], None]) -> None:
        self._on_exit = on_exit

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self._on_exit(Ended(value.exitCode or 0, value.signal or 0))


class Child:
    """A running child. `on_exit` is called once, with NOT_STARTED and the reason if it never ran."""

    def __init__(
        self,
        reactor: Reactor,
        module: str,
        arguments: Sequence[str],
        descriptors: Mapping[int, int],
        on_exit: Callable[[Ended], None],
    ) -> None:
        self._transport: Any = None
        try:
            self._transport = reactor.spawnProcess(
                _Child(on_exit),
                sys.executable,
                # -P: the working folder is no place for modules; downloads may lie there.
                [sys.executable, "-P", "-m", module, *arguments],
                env={**os.environ, **_ALLOCATOR, **_NO_THREADS},
                childFDs={0: 0, 1: 1, 2: 2, **descriptors},
            )
        except OSError as error:  # no process or no memory left: a death like any other, so that it is tried again
            reactor.callLater(0, on_exit, Ended(NOT_STARTED, 0, str(error)))

    @property
    def pid(self) -> int | None:
        return None if self._transport is None else self._transport.pid

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens when the child has ended."""
        if (pid := self.pid) is not None:
            os.kill(pid, number)
