"""A real memcached for tests, on a loopback port or a Unix socket."""

from __future__ import annotations

import os
import pwd
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymemcache.client.base import Client

from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Child, find_program


class Memcached:
    """One server that can be killed and started again at the same address, and stopped in its tracks.

    State: `address` as icapd's configuration writes it; the process while it runs.
    """

    def __init__(self, directory: Path, *, socket_path: Path | None = None, host: str = LOOPBACK) -> None:
        self._program = find_program("memcached", "memcached")
        self._log = directory / "memcached.log"
        self._socket_path = socket_path
        self._host = host
        self._port = 0 if socket_path else free_port()
        self._child: Child | None = None
        self.start()

    @property
    def address(self) -> str:
        if self._socket_path:
            return f"unix:{self._socket_path}"
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Another client of the same server, as an intruder would have."""
        client = Client(self.address, timeout=5, connect_timeout=5, default_noreply=False)
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        argv = [self._program, "-u", pwd.getpwuid(os.geteuid()).pw_name, "-U", "0", "-m", "16", "-t", "1"]
        argv += ["-s", str(self._socket_path)] if self._socket_path else ["-l", self._host, "-p", str(self._port)]
        self._child = Child(argv, self._log)
        self._child.wait_until(self._listens, "memcached listens")

    def kill(self) -> None:
        """Ends the server at once. Harmless when it has ended."""
        if self._child is not None:
            self._child.stop(signal.SIGKILL)
            self._child = None

    def hang(self) -> None:
        """The server's kernel still accepts connections, the server answers none."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """The opposite of `hang`."""
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> Child:
        assert self._child is not None, "memcached was killed"
        return self._child

    def _listens(self) -> bool:
        if self._socket_path is not None:
            return _connects(socket.AF_UNIX, str(self._socket_path))
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        return _connects(family, (self._host, self._port))


def _connects(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0
