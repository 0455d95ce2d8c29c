"""A real c-icap with its echo service, on a free port: another ICAP server for tests of ICAP clients."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, Running, find_program

CONFIGURATION = """\
PidFile {directory}/c-icap.pid
CommandsSocket {directory}/c-icap.ctl
Port {loopback}:{port}
TmpDir {directory}
ServerLog {directory}/server.log
AccessLog {directory}/access.log
StartServers 1
MaxServers 1
ThreadsPerChild 30
MinSpareThreads 1
MaxSpareThreads 30
MaxRequestsPerChild 0
MaxKeepAliveRequests -1
DebugLevel 0
RemoteProxyUsers off
LoadMagicFile /etc/c-icap/c-icap.magic
Service echo srv_echo.so
"""


class CIcap(Running):
    """A running c-icap; a context manager that ends it and removes its directory."""

    def __init__(self) -> None:
        program = find_program("c-icap", "c-icap")
        self.port = free_port()
        # Its command socket's path has to be short: pytest's directories are not.
        self.directory = Path(tempfile.mkdtemp(prefix="icapd-c-icap-"))
        configuration = self.directory / "c-icap.conf"
        configuration.write_text(CONFIGURATION.format(directory=self.directory, loopback=LOOPBACK, port=self.port))
        self._child = Child([program, "-N", "-f", str(configuration)], self.directory / "c-icap.out")
        try:
            self._child.wait_until(lambda: accepts_connections(self.port), "c-icap listens")
        except RuntimeError:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"icap://{LOOPBACK}:{self.port}/echo"

    def stop(self) -> None:
        self._child.stop()
        shutil.rmtree(self.directory)
