"""The front processes: started, watched, and started again when they die or stand still.

A listening socket stays open across its front's death, so that clients wait a moment instead of being refused.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from icapd.net.broken import MEMORY_BYTES
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Values, add_up, without_gauges
from icapd.reactor import Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.frames import (
    Beat,
    Commit,
    FromFront,
    Prepare,
    SandboxStep,
    ToFront,
    Versions,
    decode_from_front,
    encode,
)
from icapd.worker.listening import HttpShare
from icapd.worker.memfd import make_blank
from icapd.worker.packets import packet_pair
from icapd.worker.plan import Edition, Place, encode_place
from icapd.worker.processes import NOT_STARTED, Child, Ended, back_off_s

_BACK_OFF_S = 0.1
_STEADY_S = 10.0
_FIRST_FD = 3
_BEATS_MISSED_MAX = 5
_START_S = 60.0
"""What a front may take until its reactor turns, on a machine with other things to do."""


class FrontProcess:
    """One place for a front: what it is told, and the process that fills it.

    State: `values`, its metrics as last heard; `lost_values`, the counters of its dead predecessors; `beats_missed`,
    those since it last answered one.
    """

    def __init__(self, index: int, sockets: list[socket.socket], http: HttpShare) -> None:
        self.index = index
        self.sockets = sockets
        self.http = http
        self.child: Child | None = None
        self.channel: PacketChannel | None = None
        self.is_ready = False
        self.sandbox: tuple[SandboxStep, ...] = ()
        self.has_answered = False
        self.beats_missed = 0
        self.started_at = 0.0
        self.deaths = 0
        self.values: Values = {}
        self.lost_values: Values = {}

    def tell(self, message: ToFront, descriptors: Sequence[int] = ()) -> bool:
        return self.channel is not None and self.channel.send([encode(message)], descriptors)

    def kill(self) -> None:
        if self.child is not None:
            self.child.signal(signal.SIGKILL)


class Fleet:
    """All fronts.

    State: `edition` and `versions` are what a front that starts is given; `is_stopping` once none is to be started
    any more.
    """

    def __init__(
        self,
        reactor: Reactor,
        shares: list[list[socket.socket]],
        http: list[HttpShare],
        edition: Edition,
        access_fd: int,
        log: EventLog,
    ) -> None:
        """Raises: OSError when there is no memory for what fronts share."""
        self._reactor = reactor
        self.fronts = [FrontProcess(index, *each) for index, each in enumerate(zip(shares, http, strict=True))]
        self.edition = edition
        self.versions: Mapping[str, str] = {}
        self._access_fd = access_fd
        self._shared_fd = make_blank("icapd-shared", MEMORY_BYTES)
        self._log = log
        self._beats = LoopingCall(self._beat)
        self._beats.clock = cast(IReactorTime, reactor)
        self.is_stopping = False
        self.deaths = 0

    def listen(
        self,
        on_message: Callable[[FrontProcess, FromFront, list[int]], None],
        on_change: Callable[[], None],
        on_started: Callable[[FrontProcess], None],
        on_lost: Callable[[FrontProcess], None],
    ) -> None:
        """Says who hears of messages, of readiness that may have changed, and of fronts that come and go."""
        self._on_message = on_message
        self._on_change = on_change
        self._on_started = on_started
        self._on_lost = on_lost

    def start(self) -> None:
        for front in self.fronts:
            self._spawn(front)
        self._start_beats()

    def _start_beats(self) -> None:
        self._beats.start(self.edition.settings.timeouts.front_silent_s / _BEATS_MISSED_MAX, now=False)

    @property
    def is_gone(self) -> bool:
        return all(front.child is None for front in self.fronts)

    @property
    def is_answering(self) -> bool:
        """Whether any front lives and has missed no more than the last beat. The others are replaced by us."""
        return any(front.child is not None and front.beats_missed <= 1 for front in self.fronts)

    def tell_all(self, message: ToFront) -> None:
        for front in self.fronts:
            front.tell(message)

    @property
    def istag(self) -> str:
        """What clients are given."""
        return self.edition.plan.istag_with(self.versions)

    def tell_versions(self, versions: Mapping[str, str]) -> None:
        """Has all fronts, also those that start later, go by these versions of remote engines."""
        self.versions = versions
        self.tell_all(Versions(dict(versions)))

    def prepare(self, front: FrontProcess, number: int, edition: Edition) -> None:
        """Has the front get ready to work by this edition."""
        front.tell(Prepare(number, edition.scanners), [edition.plan_fd, edition.snapshot_fd])

    def commit(self, number: int, edition: Edition) -> None:
        """Puts an edition in force that all fronts have prepared; fronts that start later are given it."""
        before, self.edition = self.edition, edition
        for front in self.fronts:
            front.tell(Commit(number))
        before.close()
        self._beats.stop()
        self._start_beats()

    def values(self) -> list[Values]:
        return [values for front in self.fronts for values in (front.values, front.lost_values)]

    def _spawn(self, front: FrontProcess) -> None:
        if self.is_stopping:
            return
        front.started_at = self._reactor.seconds()
        front.has_answered = False
        front.beats_missed = 0
        try:
            ours, theirs = packet_pair()
        except OSError as error:
            self._on_exit(front, Ended(NOT_STARTED, 0, str(error)))
            return
        edition = self.edition
        descriptors = [theirs.fileno(), edition.plan_fd, edition.snapshot_fd, self._shared_fd]
        if self._access_fd >= 0:
            descriptors.append(self._access_fd)
        first_listener = _FIRST_FD + len(descriptors)
        descriptors += [listener.fileno() for listener in front.sockets]
        first_http = _FIRST_FD + len(descriptors)
        descriptors += [listener.fileno() for listener, _ in front.http]
        targets = {_FIRST_FD + index: descriptor for index, descriptor in enumerate(descriptors)}
        place = Place(
            index=front.index,
            of=len(self.fronts),
            scanners=edition.scanners,
            control_fd=_FIRST_FD,
            plan_fd=_FIRST_FD + 1,
            snapshot_fd=_FIRST_FD + 2,
            shared_fd=_FIRST_FD + 3,
            access_fd=_FIRST_FD + 4 if self._access_fd >= 0 else -1,
            listen=[
                (first_listener + index, listener.family == socket.AF_UNIX)
                for index, listener in enumerate(front.sockets)
            ],
            versions=dict(self.versions),
            http=[(first_http + index, is_tls) for index, (_, is_tls) in enumerate(front.http)],
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
        self._on_started(front)

    def _on_packet(self, front: FrontProcess) -> Callable[[bytes, list[int]], None]:
        def receive(packet: bytes, descriptors: list[int]) -> None:
            try:
                message = decode_from_front(packet)
                if isinstance(message, Beat):
                    front.has_answered = True
                    front.beats_missed = 0
                else:
                    self._on_message(front, message, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

        return receive

    def _beat(self) -> None:
        """Asks each front for a sign of life; one that has given none for too long is killed, and so replaced.

        Beats are counted, not seconds: a supervisor that stood still itself has not asked.
        """
        for front in self.fronts:
            if front.child is None or self.is_stopping:
                continue
            age_s = self._reactor.seconds() - front.started_at
            if front.beats_missed >= _BEATS_MISSED_MAX and (front.has_answered or age_s > _START_S):
                self._log.event(EventName.FRONT_SILENT, front=front.index, beats=front.beats_missed)
                front.kill()
                continue
            front.beats_missed += 1
            if front.has_answered or front.beats_missed == 1:
                front.tell(Beat())

    def _on_channel_lost(self, front: FrontProcess) -> None:
        """A front that cannot be told anything is of no use, dead or not."""
        front.channel = None
        if not self.is_stopping:
            front.kill()

    def _on_exit(self, front: FrontProcess, ended: Ended) -> None:
        front.child = None
        front.is_ready = False
        if front.channel is not None:
            front.channel.close()
            front.channel = None
        front.lost_values = add_up([front.lost_values, without_gauges(front.values)])
        front.values = {}
        if not self.is_stopping:
            self._start_again(front, ended)
        self._on_lost(front)

    def _start_again(self, front: FrontProcess, ended: Ended) -> None:
        self.deaths += 1
        if self._reactor.seconds() - front.started_at > _STEADY_S:
            front.deaths = 0
        delay_s = back_off_s(_BACK_OFF_S, front.deaths) if front.deaths else 0.0
        front.deaths += 1
        self._log.event(EventName.FRONT_LOST, front=front.index, **ended.fields(), again_in_s=delay_s)
        self._on_change()
        self._reactor.callLater(delay_s, self._spawn, front)
