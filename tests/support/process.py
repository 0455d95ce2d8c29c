"""Programs that a test runs beside itself: started, waited for, and ended by their own process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

POLL_S = 0.01
POLL_MAX_S = 0.1
GIVE_UP_S = 60.0
"""No check of how fast anything is: a machine with other things to do may take ten for a start."""


def find_program(name: str, package: str) -> str:
    """The program's path. A missing one fails the test with the way to install it: tests are never skipped for it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{name} is not installed: sudo apt-get install --yes --no-install-recommends {package}")
    return found


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = GIVE_UP_S) -> None:
    """Raises: TimeoutError when the condition does not come true in time."""
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        if waited_s > deadline_s:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s")
        # Many conditions ask a server, which is to get on with its work meanwhile.
        time.sleep(min(max(POLL_S, waited_s / 20), POLL_MAX_S))


class Running:
    """What is stopped at the end of a `with`; an error that ends it takes the logs along."""

    def stop(self) -> object:
        raise NotImplementedError

    def logs(self) -> str:
        """The last of what it wrote: what a failing test shows."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (logs := self.logs()):
            error.add_note(logs)
        self.stop()


class Child(Running):
    """A running program. Its standard output and error go to one file, which failures quote."""

    def __init__(
        self, argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        self.name = Path(argv[0]).name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], what: str, deadline_s: float = GIVE_UP_S) -> None:
        """Wait for the condition, but not for a program that has ended.

        Raises: RuntimeError, with the program's output, when it ended or the time is over.
        """

        def holds_or_ended() -> bool:
            return self.exit_code is not None or bool(condition())

        try:
            wait_until(holds_or_ended, what, deadline_s)
        except TimeoutError as late:
            raise RuntimeError(f"{self.name}: {late}\n{self.output()}") from late
        if self.exit_code is not None:
            raise RuntimeError(f"{self.name} ended with {self.exit_code}, before {what}\n{self.output()}")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, grace_s: float = 15.0) -> int:
        """End it: the signal first, SIGKILL after the grace. Returns the exit code; harmless when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()
