"""The processes below a process, by id: what is there to be killed, and what must be gone."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.process import wait_until


def children(pid: int) -> list[int]:
    """The living children of a process, in the order of their start."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [child for child in sorted(found) if is_alive(child)]


def descendants(pid: int) -> list[int]:
    """All living processes below a process."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def is_alive(pid: int) -> bool:
    """There is such a process, and it is more than an entry that nobody has read the end of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def runs_with(pid: int, *words: str) -> bool:
    """Whether it was started with these words among its arguments; its forks say the same."""
    try:
        return set(words) <= set(Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """SIGKILL, and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_gone([pid])


def wait_gone(pids: list[int]) -> None:
    """Raises: TimeoutError when one of the processes stays."""
    wait_until(lambda: not any(map(is_alive, pids)), f"the end of {[pid for pid in pids if is_alive(pid)]}")
