"""A real clamd for tests, with a database of a few signatures that is made here, on a Unix socket and on TCP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.eicar import EICAR
from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Child, find_program

MARK = b"clamd-test-mark"
SIGNATURES: Mapping[str, bytes] = {"Local.Mark": MARK, "Local.Eicar": EICAR, "PUA.Local.Tool": b"clamd-test-tool"}
NAME = "Local.Mark.UNOFFICIAL"
"""As clamd calls what a database finds that nobody has signed."""

_CONFIGURATION = """LocalSocket {socket}
LocalSocketMode 666
TCPSocket {port}
TCPAddr {host}
DatabaseDirectory {database}
TemporaryDirectory {temporary}
MaxThreads 4
AlertExceedsMax yes
AlertEncrypted yes
DetectPUA yes
SelfCheck 3600
{more}
"""


class Clamd:
    """One server that can be killed, stopped in its tracks, and started again at the same addresses."""

    def __init__(self, directory: Path, *, more: str = "", signatures: Mapping[str, bytes] = SIGNATURES) -> None:
        self.socket_path = directory / "clamd.sock"
        self.port = free_port()
        self._directory = directory
        self._database = directory / "database"
        self._database.mkdir(parents=True)
        (directory / "temporary").mkdir()
        self._configuration = directory / "clamd.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                socket=self.socket_path,
                port=self.port,
                host=LOOPBACK,
                database=self._database,
                temporary=directory / "temporary",
                more=more,
            )
        )
        self._child: Child | None = None
        self.write_signatures(1, signatures)
        self.start()

    @property
    def unix(self) -> str:
        return f"unix:{self.socket_path}"

    @property
    def tcp(self) -> str:
        return f"tcp://{LOOPBACK}:{self.port}"

    def write_signatures(self, number: int, signatures: Mapping[str, bytes]) -> None:
        """Puts a database there, with a number and a date as freshclam's have; clamd reads it at its start."""
        made = self._directory / f"made-{number}"
        made.mkdir()
        (made / "COPYING").write_text("made for a test\n")  # sigtool wants one
        lines = [f"{name}:0:*:{pattern.hex()}\n" for name, pattern in signatures.items()]
        (made / "daily.ndb").write_text("".join(lines))
        subprocess.run(
            [find_program("sigtool", "clamav"), "--build=daily.cud", "--unsigned", f"--cvd-version={number}"],
            cwd=made,
            env={**os.environ, "SIGNDUSER": "test"},
            input=b"\n",
            capture_output=True,
            check=True,
        )
        (made / "daily.cud").replace(self._database / "daily.cud")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        argv = [find_program("clamd", "clamav-daemon"), "--foreground", "-c", str(self._configuration)]
        self._child = Child(argv, self._directory / "clamd.log")
        self._child.wait_until(lambda: self.command(b"PING") == b"PONG", "clamd answers", 60)

    def command(self, command: bytes) -> bytes:
        """The answer to a plain command; empty when nobody answers."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket_path))
                client.sendall(b"z%b\0" % command)
                return client.recv(4096).rstrip(b"\0")
            except OSError:
                return b""

    def kill(self) -> None:
        """Ends the server at once. Harmless when it has ended."""
        if self._child is not None:
            self._child.stop(signal.SIGKILL)
            self._child = None

    def hang(self) -> None:
        """The kernel still accepts connections, the server answers none."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self._directory / "clamd.log").read_text(errors="replace")

    @property
    def _running(self) -> Child:
        assert self._child is not None, "clamd was killed"
        return self._child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
