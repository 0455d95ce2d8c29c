"""A server whose rules a test changes, and how it is asked to reload."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

from icapd.worker.control import ask_reload, control_name
from icapd.worker.frames import ReloadEnded
from tests.process.conftest import Serve
from tests.process.servers import ask
from tests.support.engines import ROOT
from tests.support.icapd import Icapd, Table, merged
from tests.support.process import wait_until

MARK = b"the mark that both rules look for"
PATIENCE_S = 60.0


class Rules:
    """A folder of rules: EICAR's, and one that names what has the mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.eicar = folder / "eicar.yar"
        self.eicar.write_bytes((ROOT / "conf/rules/eicar.yar").read_bytes())
        self.write("first")

    def write(self, name: str, condition: str = "$mark") -> None:
        """Puts another rule in the place of the last one, in one step."""
        new = self.folder / "mark.new"
        new.write_text(f'rule {name} {{ strings: $mark = "{MARK.decode()}" condition: $mark and {condition} }}\n')
        new.rename(self.folder / "mark.yar")

    def write_text(self, text: str) -> None:
        (self.folder / "mark.yar").write_text(text)

    def serve(self, serve: Serve, overrides: Table | None = None) -> Icapd:
        """A server with these rules."""
        return serve(merged({"engines": {"yara": {"rules": [str(self.folder)]}}}, overrides or {}))


def reload(server: Icapd) -> ReloadEnded:
    """What `icapd reload` gets to hear."""
    admin = urlsplit(server.admin_url)
    return ask_reload(control_name((admin.hostname, admin.port)), PATIENCE_S)


def hang_up(server: Icapd) -> None:
    """SIGHUP."""
    os.kill(server.child.pid, signal.SIGHUP)


def found(server: Icapd, mark: bytes = b"") -> tuple[str | None, str | None]:
    """The ISTag of an answer, and by which rule it names the mark."""
    reply = ask(server, MARK + mark)
    return reply.header("ISTag"), reply.header("X-Virus-ID")


def wait_for_event(server: Icapd, name: str, count: int = 1) -> None:
    wait_until(lambda: server.child.output().count(f'"event":"{name}"') >= count, f"{count} x {name}", PATIENCE_S)
