"""What a service manager does: hears notifications on a datagram socket, and starts programs with open sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.process import wait_until

_LAUNCH = """
import os, sys
count, names, *argv = sys.argv[1:]
for offset, descriptor in enumerate(map(int, count.split(","))):
    os.dup2(descriptor, 3 + offset)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(offset + 1), LISTEN_FDNAMES=names)
os.execv(argv[0], argv)
"""
_SPARE_FD = 50

Notification = dict[str, str]


class Notifications:
    """Everything that was told, in order."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self.told: list[Notification] = []

    def read(self) -> list[Notification]:
        """What was told until now."""
        while True:
            try:
                packet = self._socket.recv(65536).decode()
            except BlockingIOError:
                return self.told
            self.told.append(dict(line.split("=", 1) for line in packet.split("\n")))

    def wait_for(self, condition: Callable[[Notification], bool], what: str, start: int = 0) -> int:
        """The place of the first notification at or behind `start` that is meant."""

        def places() -> list[int]:
            return [at for at, each in enumerate(self.read()) if at >= start and condition(each)]

        wait_until(places, what, 60)
        return places()[0]

    def close(self) -> None:
        self._socket.close()


def start_with_sockets(
    argv: Sequence[str],
    listeners: Sequence[socket.socket],
    names: Sequence[str],
    log: Path,
    env: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """A program with these sockets as its descriptors from 3 on, as sd_listen_fds(3) has it."""
    high = [listener.fileno() for listener in listeners]
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, ",".join(map(str, high)), ":".join(names), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=high,
            env=env,
        )
