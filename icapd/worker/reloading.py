"""Reloads, in two phases: a candidate process checks the files, every front prepares, then all change at once.

Whatever fails, the configuration in force stays in force. A reload that is asked for while one runs comes after it,
as the files may have changed since that one read them; who asks meanwhile shares it.
"""

from __future__ import annotations

import enum
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from icapd import __version__
from icapd.errors import Problem
from icapd.observe.log import EventLog, EventName
from icapd.reactor import DelayedCall, Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.fleet import Fleet, FrontProcess
from icapd.worker.frames import (
    Abandon,
    Checked,
    Prepared,
    ReloadEnded,
    ReloadResult,
    decode_checked,
    pack_problems,
)
from icapd.worker.memfd import read_memfd
from icapd.worker.packets import packet_pair
from icapd.worker.plan import Edition, Order, Origin, decode_plan, encode_order
from icapd.worker.processes import Child, Ended

_FIRST_FD = 3
_DEATHS_MAX = 1
"""Fronts that may die while they prepare. One may do so for any reason; a second one does it for this one."""


class _Phase(enum.Enum):
    """Where a reload stands."""

    RESTING = "resting"
    CHECKING = "reading the files"
    PREPARING = "waiting for the fronts"
    STOPPED = "stopped"


class Reloads:
    """State: `_phase`; `_number`, of the reload under way or the last one; `_asking` wait for its end, `_asked_again`
    for that of the next; `_next`, the edition that is being prepared; `counts`, how many ended how; `wanted`, the
    files and folders that failed reloads were to read: mending one of them is a reason for the next.
    """

    def __init__(
        self,
        reactor: Reactor,
        fleet: Fleet,
        origin: Origin,
        log: EventLog,
        on_begun: Callable[[], None],
        on_ended: Callable[[ReloadEnded], None],
    ) -> None:
        self._reactor = reactor
        self._fleet = fleet
        self._origin = origin
        self._log = log
        self._on_begun = on_begun
        self._on_ended = on_ended
        self._phase = _Phase.RESTING
        self._number = 0
        self._asking: list[Deferred[ReloadEnded]] = []
        self._asked_again: list[Deferred[ReloadEnded]] = []
        self._child: Child | None = None
        self._channel: PacketChannel | None = None
        self._timer: DelayedCall | None = None
        self._started_at = 0.0
        self._next: Edition | None = None
        self._notes: list[str] = []
        self._prepared: set[int] = set()
        self._deaths = 0
        self.counts: dict[ReloadResult, int] = {"reloaded": 0, "unchanged": 0, "failed": 0}
        self.succeeded_at = time.time()
        self.last: ReloadEnded | None = None
        self.wanted: frozenset[str] = frozenset()

    @property
    def has_failed(self) -> bool:
        """Whether the last one did."""
        return self.last is not None and self.last.result == "failed"

    @property
    def is_under_way(self) -> bool:
        return self._phase in (_Phase.CHECKING, _Phase.PREPARING)

    def ask(self) -> Deferred[ReloadEnded]:
        """Reloads, or has it done once more after what is under way. Returns: how it ends; never fails."""
        waiting: Deferred[ReloadEnded] = Deferred()
        if self.is_under_way:
            self._asked_again.append(waiting)
        else:
            self._asking.append(waiting)
            self._start()
        return waiting

    def stop(self) -> None:
        """The server stops: what is under way fails, and so does what is asked for from now on."""
        was_under_way = self.is_under_way
        self._let_go()
        self._phase = _Phase.STOPPED
        if was_under_way:
            self._fail([_STOPPING])

    # Reading the files

    def _start(self) -> None:
        self._started_at = self._reactor.seconds()
        if self._phase is _Phase.STOPPED:
            self._fail([_STOPPING])
            return
        self._phase = _Phase.CHECKING
        self._number += 1
        self._log.event(EventName.RELOADING, number=self._number)
        self._on_begun()
        edition = self._fleet.edition
        self._timer = self._reactor.callLater(edition.settings.timeouts.reload_s, self._on_late)
        try:
            ours, theirs = packet_pair()
        except OSError as error:
            self._fail([Problem("reload", f"cannot be started: {error}")])
            return
        self._channel = PacketChannel(self._reactor, ours, self._on_packet, lambda: None)
        places = (_FIRST_FD, _FIRST_FD + 1, _FIRST_FD + 2)
        order = Order(self._origin, __version__, *places, edition.scanners, edition.trial)
        number = self._number
        self._child = Child(
            self._reactor,
            "icapd.worker.candidate",
            [encode_order(order).decode()],
            dict(zip(places, (theirs.fileno(), edition.plan_fd, edition.snapshot_fd), strict=True)),
            lambda ended: self._on_exit(number, ended),
        )
        theirs.close()

    def _on_packet(self, packet: bytes, descriptors: list[int]) -> None:
        if self._phase is not _Phase.CHECKING:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        try:
            self._take(decode_checked(packet), descriptors)
        except (msgspec.MsgspecError, ValueError) as error:  # another icapd than ours, or none
            for descriptor in descriptors:
                os.close(descriptor)
            self._fail([Problem("reload", f"what was read makes no sense: {error}")])

    def _take(self, checked: Checked, descriptors: list[int]) -> None:
        """Raises: MsgspecError, ValueError."""
        self._notes = checked.notes
        if checked.watched or not checked.problems:  # one that failed before it read any says nothing of them
            self.wanted = frozenset(checked.watched)
        if checked.problems:
            self._fail([Problem(where, what) for where, what in checked.problems])
            return
        if checked.is_unchanged:
            self._end("unchanged", [])
            return
        plan_fd, snapshot_fd = descriptors
        plan = decode_plan(read_memfd(plan_fd))
        self._next = Edition(
            plan,
            plan.read_settings(),
            plan_fd,
            snapshot_fd,
            checked.scanners,
            checked.trial,
            tuple(checked.watched),
        )
        self._phase = _Phase.PREPARING
        self._prepared.clear()
        self._deaths = 0
        for front in self._fleet.fronts:
            self._fleet.prepare(front, self._number, self._next)

    def _on_exit(self, number: int, ended: Ended) -> None:
        """What the candidate said before it ended is still read first."""
        if number == self._number and self._phase is _Phase.CHECKING and self._channel is not None:
            self._channel.doRead()
        if number == self._number and self._phase is _Phase.CHECKING:
            self._child = None
            how = ended.error or (
                f"signal {ended.signal_number}" if ended.signal_number else f"status {ended.exit_code}"
            )
            self._fail([Problem("reload", f"reading and trying the rules ended with {how}")])

    # The fronts

    def on_front_started(self, front: FrontProcess) -> None:
        """It was given what is in force; it prepares what is to come like the others."""
        if self._phase is _Phase.PREPARING and self._next is not None:
            self._fleet.prepare(front, self._number, self._next)

    def on_front_lost(self, front: FrontProcess) -> None:
        """It prepared nothing any more."""
        if self._phase is _Phase.PREPARING:
            self._prepared.discard(front.index)
            self._deaths += 1
            if self._deaths > _DEATHS_MAX:
                self._fail([Problem("reload", "fronts die while they prepare it")])

    def on_prepared(self, front: FrontProcess, message: Prepared) -> None:
        """A front can change, or cannot. The last one that can makes all change."""
        if self._phase is not _Phase.PREPARING or message.number != self._number:
            return
        if message.problems:
            self._fail([Problem(where, what) for where, what in message.problems])
            return
        self._prepared.add(front.index)
        if len(self._prepared) == len(self._fleet.fronts) and self._next is not None:
            edition, self._next = self._next, None
            self._fleet.commit(self._number, edition)
            self._end("reloaded", [])

    # The end

    def _on_late(self) -> None:
        waited_for = self._phase.value
        if self._phase is _Phase.PREPARING:
            missing = [front.index for front in self._fleet.fronts if front.index not in self._prepared]
            waited_for = f"{waited_for} {missing}"
        self._fail([Problem("timeouts.reload_s", f"is over while {waited_for}")])

    def _fail(self, problems: list[Problem]) -> None:
        for problem in problems:
            self._log.event(EventName.RELOAD_PROBLEM, where=problem.where, what=problem.what)
        if self._next is not None:
            self._fleet.tell_all(Abandon(self._number))
        self._end("failed", problems)

    def _let_go(self) -> None:
        """Frees what a reload holds while it is under way."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._child is not None:
            self._child.signal(signal.SIGKILL)  # it has said what it had to say, or will not be heard
            self._child = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._next is not None:
            self._next.close()
            self._next = None

    def _end(self, result: ReloadResult, problems: list[Problem]) -> None:
        self._let_go()
        if self._phase is not _Phase.STOPPED:
            self._phase = _Phase.RESTING
        self.counts[result] += 1
        if result != "failed":
            self.succeeded_at = time.time()
            self.wanted = frozenset()
        ended = ReloadEnded(
            result,
            self._fleet.istag,
            pack_problems(problems),
            self._notes,
            round(self._reactor.seconds() - self._started_at, 3),
        )
        self._notes = []
        self.last = ended
        self._log_end(ended)
        asking, self._asking, self._asked_again = self._asking, self._asked_again, []
        self._on_ended(ended)
        for waiting in asking:
            waiting.callback(ended)
        if self._asking and not self.is_under_way:
            self._start()

    def _log_end(self, ended: ReloadEnded) -> None:
        for note in ended.notes:
            self._log.event(EventName.SELF_TEST, what=note)
        name = _EVENTS[ended.result]
        self._log.event(
            name,
            number=self._number,
            istag=ended.istag,
            elapsed_s=ended.elapsed_s,
            problems=len(ended.problems),
        )


_STOPPING = Problem("reload", "the server is stopping")
_EVENTS: dict[Any, EventName] = {
    "reloaded": EventName.RELOADED,
    "unchanged": EventName.RELOAD_UNCHANGED,
    "failed": EventName.RELOAD_FAILED,
}
