"""The nursery: builds the engines once from a snapshot, then forks scanners that share them copy-on-write.

A killed scanner is replaced by a fork, in milliseconds, however many rules there are. It stays single-threaded, so
that forking is safe, and never touches a body.

    python -m icapd.worker.nursery CONTROL_FD SNAPSHOT_FD CONFINEMENT        (a JSON `Confinement`)
"""

from __future__ import annotations

import contextlib
import encodings
import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
import time

from icapd.errors import ConfigurationError
from icapd.plugins import build_engines
from icapd.scan.tree import EngineSet
from icapd.worker import scanner
from icapd.worker.frames import BuildFailed, Exited, Loaded, Spawned, decode_spawn, encode, pack_problems
from icapd.worker.packets import receive, send
from icapd.worker.rules import read_rules
from icapd.worker.sandbox import Confinement, Sandbox, decode_confinement
from icapd.worker.sandbox.kernel import die_with


class Nursery:
    """State: `_slots`, the living scanners by process id."""

    def __init__(self, control: socket.socket, engines: EngineSet, sandbox: Sandbox) -> None:
        self._control = control
        self._engines = engines
        self._sandbox = sandbox
        self._slots: dict[int, int] = {}
        self._woken, waker = socket.socketpair()
        self._woken.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serves until the front closes the control channel."""
        try:
            self._serve()
        finally:
            signal.set_wakeup_fd(-1)  # scanners that end with us would wake a descriptor that is gone

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
                self._reap()
            if self._control.fileno() in ready and not self._serve_one():
                return

    def _serve_one(self) -> bool:
        packet, descriptors = receive(self._control)
        if not packet:
            return False
        slot = decode_spawn(packet).slot
        if descriptors:
            self._fork(slot, socket.socket(fileno=descriptors[0]))
        else:  # we had no room for its end, which is closed thereby
            self._say_exited(slot)
        return True

    def _fork(self, slot: int, end: socket.socket) -> None:
        """Starts a scanner. When that fails its end is closed: to the front one that died early."""
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            end.close()
            self._say_exited(slot)
            return
        if pid == 0:
            self._control.close()
            self._woken.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._waker.close()
            scanner.run(end, self._engines, self._sandbox, nursery)
        end.close()
        self._slots[pid] = slot
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # as nobody else could; it is reaped like any other
            return
        send(self._control, [encode(Spawned(slot, pid))], [pidfd])
        os.close(pidfd)

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            slot = self._slots.pop(pid)
            signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
            self._say_exited(slot, pid, exit_code, signal_number)

    def _say_exited(self, slot: int, pid: int = 0, exit_code: int = 0, signal_number: int = 0) -> None:
        """Without a process id: it was never there."""
        send(self._control, [encode(Exited(slot, pid, exit_code, signal_number))])


def main(arguments: list[str]) -> int:
    control = socket.socket(fileno=int(arguments[0]))
    die_with(os.getppid())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when its front does; scanners inherit this
    try:
        return _serve(control, int(arguments[1]), decode_confinement(arguments[2]))
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the front is gone, and the scanners go with us


def _serve(control: socket.socket, snapshot_descriptor: int, confinement: Confinement) -> int:
    started = time.monotonic()
    if confinement.is_idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        sandbox = Sandbox(confinement)
        engines = build_engines(read_rules(snapshot_descriptor))
    except ConfigurationError as error:
        send(control, [encode(BuildFailed(pack_problems(error.problems)))])
        return 2
    os.close(snapshot_descriptor)
    _load_encodings()
    gc.collect()
    gc.freeze()
    send(control, [encode(Loaded(time.monotonic() - started, sandbox.steps))])
    Nursery(control, engines, sandbox).run()
    return 0


def _load_encodings() -> None:
    """Python loads an encoding when a body names it first, and scanners open no files."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):  # those of Windows
            importlib.import_module(f"encodings.{module.name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
