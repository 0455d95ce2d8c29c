"""What a scanner may use up: memory, descriptors, CPU time. What it may leave behind: nothing."""

from __future__ import annotations

import math
import resource
import time

_DESCRIPTORS_MAX = 64
"""A scanner has its channel, a body, and what an engine opens of that body again."""
_CPU_MARGIN_S = 2.0

_NONE = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_MEMLOCK,
    12,  # RLIMIT_MSGQUEUE, which `resource` has no name for
)


def apply_limits(memory_bytes: int) -> str:
    """Bounds what the process may take from now on.

    RLIMIT_NPROC stays: YARA-X starts a thread for its time limits, and threads count as processes there. Forking is
    forbidden by the system-call filter, which can tell them apart.
    """
    _lower(resource.RLIMIT_DATA, _data_bytes() + memory_bytes)
    _lower(resource.RLIMIT_NOFILE, _DESCRIPTORS_MAX)
    for kind in _NONE:
        _lower(kind, 0)
    return ""


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _data_bytes() -> int:
    """What RLIMIT_DATA already counts at this moment, in bytes."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return 0


class CpuLimit:
    """RLIMIT_CPU counts a process's whole life; this one gives each task its own share of it.

    The deadline's kill comes first. This one ends a scanner whose front no longer looks at deadlines.

    State: `_soft_s`, the limit in force, in seconds of CPU time since the process began.
    """

    def __init__(self) -> None:
        _, self._hard_s = resource.getrlimit(resource.RLIMIT_CPU)
        self._soft_s = 0

    def allow(self, wanted_s: float) -> None:
        """So much CPU time from now on, rounded up; then the kernel sends SIGXCPU, which ends the process."""
        soft_s = math.ceil(time.process_time() + max(wanted_s, 0.0) + _CPU_MARGIN_S)
        if self._hard_s != resource.RLIM_INFINITY:
            soft_s = min(soft_s, self._hard_s)
        if soft_s != self._soft_s:
            resource.setrlimit(resource.RLIMIT_CPU, (soft_s, self._hard_s))
            self._soft_s = soft_s
