"""The front's side of its nursery: starts it, asks it for scanners, starts it again when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

from icapd.errors import Problem
from icapd.observe.log import EventLog, EventName
from icapd.reactor import DelayedCall, Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.frames import (
    BuildFailed,
    Exited,
    Loaded,
    SandboxStep,
    Spawn,
    Spawned,
    decode_from_nursery,
    encode,
    unpack_problems,
)
from icapd.worker.packets import packet_pair
from icapd.worker.processes import NOT_STARTED, Child, Ended, back_off_s
from icapd.worker.sandbox import Confinement, encode_confinement, missing

_BACK_OFF_S = 0.1
_BUILD_AGAIN_S = 5.0
_LOAD_S = 600.0
"""Longer than any rules take to build, so that a nursery that hangs over them is replaced."""
_CONTROL_FD = 3
_SNAPSHOT_FD = 4


class NurseryProcess:
    """State: `_channel` is None while no nursery runs; `is_loaded` once it can fork scanners; `_has_failed_to_build`
    when the last one could not build its engines."""

    def __init__(
        self,
        reactor: Reactor,
        snapshot_descriptor: int,
        confinement: Confinement,
        log: EventLog,
        on_build_failed: Callable[[list[Problem]], None],
        load_s: float = _LOAD_S,
    ) -> None:
        self._reactor = reactor
        self._snapshot_descriptor = snapshot_descriptor
        self._confinement = encode_confinement(confinement).decode()
        self._log = log
        self._on_build_failed = on_build_failed
        self._load_s = load_s
        self._late: DelayedCall | None = None
        self._channel: PacketChannel | None = None
        self._child: Child | None = None
        self._is_stopping = False
        self._next_slot = 0
        self._deaths = 0
        self._has_failed_to_build = False
        self.is_loaded = False
        self.sandbox: tuple[SandboxStep, ...] = ()

    def listen(
        self,
        on_loaded: Callable[[], None],
        on_spawned: Callable[[Spawned, int], None],
        on_exited: Callable[[Exited], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Says who hears of it; `on_spawned` owns the pidfd it is given."""
        self._on_loaded = on_loaded
        self._on_spawned = on_spawned
        self._on_exited = on_exited
        self._on_lost = on_lost

    def start(self) -> None:
        if self._is_stopping:
            return
        self._has_failed_to_build = False
        try:
            ours, theirs = packet_pair()
        except OSError as error:
            self._start_again(Ended(NOT_STARTED, 0, str(error)))
            return
        self._channel = PacketChannel(self._reactor, ours, self._on_packet, self._on_channel_lost)
        self._child = Child(
            self._reactor,
            "icapd.worker.nursery",
            [str(_CONTROL_FD), str(_SNAPSHOT_FD), self._confinement],
            {_CONTROL_FD: theirs.fileno(), _SNAPSHOT_FD: self._snapshot_descriptor},
            self._on_child_exit,
        )
        theirs.close()
        self._await_load(self._load_s)

    def _await_load(self, within_s: float | None) -> None:
        """A nursery that builds for longer hangs; None: it has ended, or has loaded."""
        timer, self._late = self._late, None
        if timer is not None and timer.active():
            timer.cancel()
        if within_s is not None:
            self._late = self._reactor.callLater(within_s, self.on_hanging)

    def stop(self) -> None:
        """Ends the nursery, also one that hangs; its scanners go with it."""
        self._is_stopping = True
        self.is_loaded = False
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._kill()

    def on_hanging(self) -> None:
        """It did not do what it was asked for in time: another one will."""
        if self._channel is None:
            return
        self._log.event(EventName.NURSERY_HANGS)
        self._channel.close()
        self._on_channel_lost()

    def _kill(self) -> None:
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    def spawn(self, end: socket.socket) -> int | None:
        """Asks for a scanner that serves `end`. Returns its slot number, None when no nursery can do it."""
        if self._channel is None or not self.is_loaded:
            return None
        self._next_slot += 1
        sent = self._channel.send([encode(Spawn(self._next_slot))], [end.fileno()])
        return self._next_slot if sent else None

    def _on_packet(self, packet: bytes, descriptors: list[int]) -> None:
        message = decode_from_nursery(packet)
        if isinstance(message, Spawned) and len(descriptors) == 1:
            self._on_spawned(message, descriptors[0])
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(message, Spawned):
            # We had no room for its pidfd, and nobody could kill it at a deadline. Its nursery has hardly had the
            # time to reap it, so that this process id is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(message.pid, signal.SIGKILL)
        elif isinstance(message, Loaded):
            self._await_load(None)
            self.is_loaded = True
            self._deaths = 0
            self._log.event(EventName.RULES_LOADED, elapsed_s=round(message.elapsed_s, 3))
            self._note_sandbox(message.sandbox)
            self._on_loaded()
        elif isinstance(message, BuildFailed):
            self._await_load(None)
            self._has_failed_to_build = True
            self._on_build_failed(unpack_problems(message.problems))
        elif isinstance(message, Exited):
            self._on_exited(message)

    def _note_sandbox(self, steps: tuple[SandboxStep, ...]) -> None:
        """Says what should be in force around scanners and is not; it will not change while the server runs."""
        for step in missing(steps) if steps != self.sandbox else ():
            self._log.event(EventName.SANDBOX_INCOMPLETE, step=step.name, reason=step.detail)
        self.sandbox = steps

    def _on_channel_lost(self) -> None:
        """A nursery without its channel is of no use, dead or not."""
        self._channel = None
        self.is_loaded = False
        self._kill()

    def _on_child_exit(self, ended: Ended) -> None:
        self._child = None
        self.is_loaded = False
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._await_load(None)
        self._on_lost()
        if not self._is_stopping:
            self._start_again(ended)

    def _start_again(self, ended: Ended) -> None:
        delay_s = _BUILD_AGAIN_S if self._has_failed_to_build else back_off_s(_BACK_OFF_S, self._deaths)
        self._deaths += 1
        self._log.event(EventName.NURSERY_LOST, **ended.fields(), again_in_s=delay_s)
        self._reactor.callLater(delay_s, self.start)
