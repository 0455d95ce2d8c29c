"""The supervisor: owns the listening sockets, starts the fronts and starts them again, answers operators.

It sees no byte of a client. A listening socket stays open across its front's death, so that clients wait a moment
instead of being refused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from twisted.internet.defer import Deferred

from icapd.errors import Problem
from icapd.net.admin import admin_site
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Values, add_up, without_gauges
from icapd.reactor import Reactor
from icapd.worker.channel import PacketChannel, packet_pair
from icapd.worker.frames import (
    Drain,
    Fatal,
    FromFront,
    Metrics,
    ReadMetrics,
    Ready,
    ToFront,
    decode_from_front,
    decode_values,
    encode,
    unpack_problems,
)
from icapd.worker.memfd import read_memfd
from icapd.worker.plan import Place, encode_place
from icapd.worker.processes import NOT_STARTED, Child, Ended, back_off_s

_BACK_OFF_S = 0.1
_STEADY_S = 10.0
_SCRAPE_S = 0.5
_KILL_AFTER_S = 2.0
_FIRST_FD = 3


class _FrontProcess:
    """One place for a front: what it is told, and the process that fills it.

    State: `values`, its metrics as last heard; `lost_values`, the counters of its dead predecessors.
    """

    def __init__(self, index: int, sockets: list[socket.socket]) -> None:
        self.index = index
        self.sockets = sockets
        self.child: Child | None = None
        self.channel: PacketChannel | None = None
        self.is_ready = False
        self.started_at = 0.0
        self.deaths = 0
        self.values: Values = {}
        self.lost_values: Values = {}

    def tell(self, message: ToFront) -> bool:
        return self.channel is not None and self.channel.send([encode(message)])


class Supervisor:
    """State: `_is_stopping` once SIGTERM has come; `_has_served` once a front was ready; `exit_code` is what the
    process should end with."""

    def __init__(
        self,
        reactor: Reactor,
        fronts: list[list[socket.socket]],
        scanners: int,
        plan_fd: int,
        snapshot_fd: int,
        access_fd: int,
        shutdown_s: float,
        log: EventLog,
        info: tuple[str, ...],
    ) -> None:
        self._reactor = reactor
        self._fronts = [_FrontProcess(index, sockets) for index, sockets in enumerate(fronts)]
        self._scanners = scanners
        self._plan_fd = plan_fd
        self._snapshot_fd = snapshot_fd
        self._access_fd = access_fd
        self._shutdown_s = shutdown_s
        self._log = log
        self._info = info
        self._is_stopping = False
        self._was_ready = False
        self._has_served = False
        self._front_deaths = 0
        self._numbers = itertools.count(1)
        self._scrapes: dict[int, _Scrape] = {}
        self._admin_port: Any = None
        self.exit_code = 0
        self.problems: list[Problem] = []

    def start(self, admin: socket.socket) -> None:
        """Starts all fronts and the admin endpoints."""
        site = admin_site(self._readiness, self._collect)
        self._admin_port = self._reactor.adoptStreamPort(admin.fileno(), admin.family, site)
        admin.close()
        for front in self._fronts:
            self._spawn(front)

    # Fronts

    def _spawn(self, front: _FrontProcess) -> None:
        if self._is_stopping:
            return
        front.started_at = self._reactor.seconds()
        try:
            ours, theirs = packet_pair()
        except OSError as error:
            self._on_exit(front, Ended(NOT_STARTED, 0, str(error)))
            return
        descriptors = [theirs.fileno(), self._plan_fd, self._snapshot_fd]
        if self._access_fd >= 0:
            descriptors.append(self._access_fd)
        descriptors += [listener.fileno() for listener in front.sockets]
        targets = {_FIRST_FD + index: descriptor for index, descriptor in enumerate(descriptors)}
        first_listener = _FIRST_FD + len(descriptors) - len(front.sockets)
        place = Place(
            index=front.index,
            of=len(self._fronts),
            scanners=self._scanners,
            control_fd=_FIRST_FD,
            plan_fd=_FIRST_FD + 1,
            snapshot_fd=_FIRST_FD + 2,
            access_fd=_FIRST_FD + 3 if self._access_fd >= 0 else -1,
            listen=[
                (first_listener + index, listener.family == socket.AF_UNIX)
                for index, listener in enumerate(front.sockets)
            ],
        )
        front.channel = PacketChannel(
            self._reactor, ours, self._on_packet(front), lambda: self._on_channel_lost(front)
        )
        front.child = Child(
            self._reactor,
            "icapd.worker.front",
            [encode_place(place).decode("ascii")],
            targets,
            lambda ended: self._on_exit(front, ended),
        )
        theirs.close()

    def _on_packet(self, front: _FrontProcess) -> Callable[[bytes, list[int]], None]:
        def receive(packet: bytes, descriptors: list[int]) -> None:
            try:
                self._take(front, decode_from_front(packet), descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

        return receive

    def _take(self, front: _FrontProcess, message: FromFront, descriptors: list[int]) -> None:
        match message:
            case Ready(is_ready):
                front.is_ready = is_ready
                self._has_served |= is_ready
                self._note_readiness()
            case Metrics(number):
                if descriptors:  # the kernel drops what we have no room for
                    front.values = decode_values(read_memfd(descriptors[0]))
                scrape = self._scrapes.get(number)
                if scrape is not None:
                    scrape.heard(front.index)
            case Fatal(problems):
                # Once we serve, what was replaced on disk costs what it must: that front says so, and tries again.
                if not self._has_served:
                    self.problems = unpack_problems(problems)
                    self.exit_code = 2
                    self.stop()
            case _:
                assert_never(message)

    def _on_channel_lost(self, front: _FrontProcess) -> None:
        """A front that cannot be told anything is of no use, dead or not."""
        front.channel = None
        if front.child is not None and not self._is_stopping:
            front.child.signal(signal.SIGKILL)

    def _on_exit(self, front: _FrontProcess, ended: Ended) -> None:
        front.child = None
        front.is_ready = False
        if front.channel is not None:
            front.channel.close()
            front.channel = None
        front.lost_values = add_up([front.lost_values, without_gauges(front.values)])
        front.values = {}
        if self._is_stopping:
            self._finish_when_alone()
            return
        self._front_deaths += 1
        if self._reactor.seconds() - front.started_at > _STEADY_S:
            front.deaths = 0
        delay_s = back_off_s(_BACK_OFF_S, front.deaths) if front.deaths else 0.0
        front.deaths += 1
        self._log.event(EventName.FRONT_LOST, front=front.index, **ended.fields(), again_in_s=delay_s)
        self._note_readiness()
        self._reactor.callLater(delay_s, self._spawn, front)

    # Operators

    def _readiness(self) -> tuple[int, str]:
        if self._is_stopping:
            return 503, "draining"
        waiting = [front.index for front in self._fronts if not front.is_ready]
        return (503, f"loading rules: fronts {waiting}") if waiting else (200, "ready")

    def _note_readiness(self) -> None:
        is_ready = self._readiness()[0] == 200
        if is_ready and not self._was_ready:
            self._log.event(EventName.READY, fronts=len(self._fronts))
        self._was_ready = is_ready

    def _collect(self) -> Deferred[Values]:
        """The sums over all fronts; a front that does not answer in time counts with what it said last."""
        number = next(self._numbers)
        asked = {front.index for front in self._fronts if front.tell(ReadMetrics(number))}
        scrape = self._scrapes[number] = _Scrape(asked)
        timer = self._reactor.callLater(_SCRAPE_S, scrape.end)

        def summed(_: None) -> Values:
            del self._scrapes[number]
            if timer.active():
                timer.cancel()
            return self._sums()

        scrape.done.addCallback(summed)
        if not asked:
            scrape.end()
        return scrape.done

    def _sums(self) -> Values:
        own: Values = {
            "icapd_fronts": [((), float(sum(front.child is not None for front in self._fronts)))],
            "icapd_front_deaths_total": [((), float(self._front_deaths))],
            "icapd_ready": [((), float(self._was_ready))],
            "icapd_build_info": [(self._info, 1.0)],
        }
        parts = [own]
        for front in self._fronts:
            parts += [front.values, front.lost_values]
        return add_up(parts)

    # The end

    def stop(self) -> None:
        """Closes the listeners first, then lets the fronts finish what runs, within `timeouts.shutdown_s`."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._note_readiness()
        self._log.event(EventName.DRAINING, within_s=self._shutdown_s)
        close_listeners([listener for front in self._fronts for listener in front.sockets])
        for front in self._fronts:
            front.tell(Drain(self._shutdown_s))
        self._reactor.callLater(self._shutdown_s + _KILL_AFTER_S, self._kill)
        self._finish_when_alone()

    def _kill(self) -> None:
        for front in self._fronts:
            if front.child is not None:
                front.child.signal(signal.SIGKILL)

    def _finish_when_alone(self) -> None:
        if all(front.child is None for front in self._fronts):
            self._log.event(EventName.STOPPED, exit_code=self.exit_code)
            self._reactor.stop()


def close_listeners(listeners: Sequence[socket.socket]) -> None:
    """Closes listening sockets. Files of Unix sockets go first: once we are deaf, they may be another server's."""
    for path in {listener.getsockname() for listener in listeners if listener.family == socket.AF_UNIX}:
        with contextlib.suppress(OSError):
            os.unlink(path)
    for listener in listeners:
        listener.close()


class _Scrape:
    """One collection of metrics under way."""

    def __init__(self, asked: set[int]) -> None:
        self._asked = asked
        self.done: Deferred[Any] = Deferred()

    def heard(self, index: int) -> None:
        self._asked.discard(index)
        if not self._asked:
            self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)
