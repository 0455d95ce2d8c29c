"""File descriptors: each client takes one; a front without any left could not spool a body, nor replace a scanner."""

from __future__ import annotations

import contextlib
import resource
import sys

from icapd.observe.log import EventLog, EventName

_A_SCANNER = 2  # its channel and its pidfd
_A_FRONT = 96  # listeners, logs, memcached, the reactor's own, large bodies, surplus clients; and a few to spare


def raise_descriptor_limit() -> None:
    """As many as we may have, for us and for the processes that we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """How many this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def room_for_clients(within: int, scanners: int) -> int:
    """How many clients a front with so many descriptors may have. Large bodies come on top."""
    return max(1, within - _A_SCANNER * scanners - _A_FRONT)


def shares_of(room: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """What each of those gets who want so many connections: all, or its part of the room, but never none."""
    total = sum(wanted)
    if total <= room:
        return wanted
    return tuple(max(1, each * room // total) for each in wanted)


def warn_of_few_descriptors(within: int, connections: int, fronts: int, scanners: int, log: EventLog) -> None:
    """Says so when a front cannot have its share of the connections, and how many will be served in all."""
    share = -(-connections // fronts)
    room = room_for_clients(within, scanners)
    if room < share:
        wanted = share + _A_SCANNER * scanners + _A_FRONT
        fields = {"limit": within, "wanted": wanted, "connections": room * fronts}
        log.event(EventName.DESCRIPTORS_FEW, **fields, key="server.max_connections")
