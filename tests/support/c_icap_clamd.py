"""A real c-icap with a real clamd behind its virus_scan, for tests of who asks it."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.clamd import Clamd
from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, find_program

_CONFIGURATION = """PidFile {state}/c-icap.pid
CommandsSocket {state}/c-icap.ctl
Timeout 30
StartServers 1
MaxServers 2
MinSpareThreads 5
MaxSpareThreads 10
ThreadsPerChild 10
KeepAliveTimeout 30
Port {host}:{port}
{identity}
ServerAdmin root@localhost
ServerName test
TmpDir {state}/tmp
MaxMemObject 131072
DebugLevel 1
ModulesDir {modules}
ServicesDir {modules}
TemplateDir /usr/share/c_icap/templates/
TemplateDefaultLanguage en
LoadMagicFile /etc/c-icap/c-icap.magic
ServerLog {state}/server.log
AccessLog {state}/access.log
Service echo srv_echo.so
Module common clamd_mod.so
clamd_mod.ClamdSocket {clamd}
Service avscan virus_scan.so
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE
virus_scan.MaxObjectSize 20M
virus_scan.StartSendPercentDataAfter {answers_after}
virus_scan.DefaultEngine clamd
"""


class ScanningCIcap:
    """A running server; a context manager that ends it."""

    def __init__(self, directory: Path, clamd: Clamd, *, answers_after: str = "20M") -> None:
        """Args: `answers_after` so much of a body it begins to send it back, before it has been scanned."""
        program = find_program("c-icap", "c-icap")
        modules = glob.glob("/usr/lib/*/c_icap/virus_scan.so")
        if not modules:
            pytest.fail("c-icap's virus_scan is not installed: libc-icap-mod-virus-scan")
        self.port = free_port()
        (directory / "tmp").mkdir(parents=True)
        configuration = directory / "c-icap.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                state=directory,
                host=LOOPBACK,
                port=self.port,
                identity=_identity(directory),
                modules=Path(modules[0]).parent,
                clamd=clamd.socket_path,
                answers_after=answers_after,
            )
        )
        self._child = Child([program, "-N", "-f", str(configuration)], directory / "c-icap.log")
        self._child.wait_until(lambda: accepts_connections(self.port), "c-icap listens", 30)

    def url(self, service: str) -> str:
        return f"icap://{LOOPBACK}:{self.port}/{service}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.stop()


def _identity(directory: Path) -> str:
    """c-icap wants a user to become when root starts it; it becomes root again, who may go into a test's folders."""
    if os.geteuid() != 0:
        return ""
    user = pwd.getpwuid(0).pw_name
    for folder in (directory, directory / "tmp"):
        shutil.chown(folder, user, user)
    return f"User {user}\nGroup {user}"
