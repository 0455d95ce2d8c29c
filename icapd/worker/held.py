"""One scanner as the front sees it: its channel, its pidfd, and the job it has."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from functools import partial
from typing import Protocol

from icapd.reactor import Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.jobs import Job


class Holder(Protocol):
    """Who hears of a scanner's answers and of its end: the pool."""

    def on_answer(self, scanner: Scanner, packet: bytes, descriptors: list[int]) -> None: ...

    def on_channel_lost(self, scanner: Scanner) -> None: ...


class Scanner:
    """One scanner.

    State: `job` is None while it is idle; `pidfd` comes from the nursery; `is_lost` once it has ended by itself.
    """

    __slots__ = (
        "asked_at",
        "channel",
        "has_exited",
        "is_doomed",
        "is_lost",
        "job",
        "pidfd",
        "signal_number",
        "slot",
        "tasks",
        "was_spawned",
    )

    def __init__(self, slot: int, holder: Holder, reactor: Reactor, end: socket.socket) -> None:
        self.slot = slot
        self.channel = PacketChannel(
            reactor, end, partial(holder.on_answer, self), partial(holder.on_channel_lost, self)
        )
        self.pidfd: int | None = None
        self.job: Job | None = None
        self.tasks = 0
        self.is_doomed = False
        self.has_exited = False
        self.is_lost = False
        self.signal_number = 0
        self.asked_at = 0.0
        self.was_spawned = False

    def is_overdue(self, since: float) -> bool:
        """Whether its nursery has not forked it although it was asked by then."""
        return not self.was_spawned and self.asked_at <= since

    def kill(self) -> None:
        """Ends the process now, or as soon as its pidfd is known."""
        self.is_doomed = True
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def forget(self, signal_number: int = 0) -> None:
        """The process is gone."""
        self.has_exited = True
        self.signal_number = signal_number
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
