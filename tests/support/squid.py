"""A real Squid on free ports, with both vectoring points pointed at an ICAP server. Runs as root or as anybody."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, Running, find_program

CONFIGURATION = """\
http_port {loopback}:{port}
visible_hostname squid.test
pid_filename {directory}/squid.pid
cache_log {directory}/cache.log
access_log stdio:{directory}/access.log
coredump_dir {directory}
netdb_filename none
pinger_enable off
shutdown_lifetime 1 second
cache deny all

acl loopback dst {loopback}
http_access allow loopback
http_access deny all

icap_enable on
icap_preview_enable on
icap_persistent_connections on
icap_connect_timeout 5 seconds
icap_io_timeout {io_timeout_s} seconds
icap_service_failure_limit -1
adaptation_send_client_ip on
logformat icap %ts.%03tu %icap::tt %icap::to/%03icap::Hs %icap::<st %icap::rm %icap::ru %rm %ru
icap_log stdio:{directory}/icap.log icap
icap_service before reqmod_precache {reqmod} bypass=off
icap_service after respmod_precache {respmod} bypass=off
adaptation_access before allow all
adaptation_access after allow all
"""
LOGS = ("squid.out", "cache.log", "access.log", "icap.log")


class Squid(Running):
    """A running Squid; a context manager that ends it and removes its directory.

    Its directory lies directly under the system's temporary one: started as root, Squid drops to the user `proxy`,
    who may not enter the directories pytest makes.
    """

    def __init__(self, reqmod: str, respmod: str, *, io_timeout_s: int = 20, extra: str = "") -> None:
        program = find_program("squid", "squid-openssl")
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="icapd-squid-"))
        text = CONFIGURATION.format(
            loopback=LOOPBACK,
            port=self.port,
            directory=self.directory,
            io_timeout_s=io_timeout_s,
            reqmod=reqmod,
            respmod=respmod,
        )
        configuration = self.directory / "squid.conf"
        configuration.write_text(text + extra)
        if os.geteuid() == 0:
            proxy = pwd.getpwnam("proxy")
            os.chown(self.directory, proxy.pw_uid, proxy.pw_gid)
        # The service name is part of the names of Squid's shared memory; another Squid on this machine has its own.
        argv = [program, "-N", "-n", f"icapd{self.port}", "-f", str(configuration)]
        self._child = Child(argv, self.directory / "squid.out")
        try:
            self._child.wait_until(lambda: accepts_connections(self.port), "Squid listens")
        except RuntimeError as error:
            error.add_note(self.logs())
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def logs(self) -> str:
        """The last of every log: what a failing test shows."""
        parts = []
        for name in LOGS:
            path = self.directory / name
            if path.exists():
                parts.append(f"--- {name}\n{path.read_text(errors='replace')[-4000:]}")
        return "\n".join(parts)

    def stop(self) -> None:
        self._child.stop()
        shutil.rmtree(self.directory)
