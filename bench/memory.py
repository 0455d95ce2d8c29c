"""Memory of a server's processes, read from /proc."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_SHARED_FAIRLY: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_WORKER: Final = re.compile(rb"icapd\.worker\.(\w+)")
_KIB: Final = 1024


class Memory(msgspec.Struct, frozen=True):
    """One process: the most it had resident at any time, and now with each shared page divided among its users."""

    role: str
    pid: int
    peak_rss_bytes: int
    pss_bytes: int


def read_memory(pid: int) -> list[Memory]:
    """The icapd supervisor with this id, and all its descendants."""
    found = []
    wanted = {pid: "supervisor", **_descendants(pid)}
    for process, role in wanted.items():
        folder = _PROC / str(process)
        try:
            peak = _PEAK.search((folder / "status").read_text())
            share = _SHARED_FAIRLY.search((folder / "smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if peak and share:
            found.append(Memory(role, process, int(peak[1]) * _KIB, int(share[1]) * _KIB))
    return found


def _descendants(root: int) -> dict[int, str]:
    """Each descendant's role."""
    children: dict[int, list[int]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    roles: dict[int, str] = {}
    waiting = [(child, "") for child in children.get(root, [])]
    while waiting:
        process, parent_role = waiting.pop()
        roles[process] = role = _role(process, parent_role)
        waiting += [(child, role) for child in children.get(process, [])]
    return roles


def _role(pid: int, parent_role: str) -> str:
    """Scanners are forks of the nursery and have its command line."""
    if parent_role == "nursery":
        return "scanner"
    try:
        worker = _WORKER.search((_PROC / str(pid) / "cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return "unknown"
    return worker[1].decode() if worker else "unknown"
