"""A real HAProxy with the configuration that the project ships, its addresses exchanged for free ports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, Running, find_program

SHIPPED = Path(__file__).parents[2] / "conf" / "haproxy" / "haproxy.cfg"


class HAProxy(Running):
    """A running HAProxy; a context manager that ends it."""

    def __init__(self, directory: Path, nodes: Sequence[tuple[str, int]]) -> None:
        program = find_program("haproxy", "haproxy")
        self.port = free_port()
        text = SHIPPED.read_text()
        text, binds = re.subn(r"(bind )127\.0\.0\.1:\d+", rf"\g<1>{LOOPBACK}:{self.port}", text)
        addresses = (f"{host}:{port}" for host, port in nodes)
        text, servers = re.subn(r"(server \w+ )127\.0\.0\.1:\d+", lambda found: found[1] + next(addresses), text)
        assert (binds, servers) == (1, len(nodes))
        configuration = directory / "haproxy.cfg"
        configuration.write_text(text)
        self.child = Child([program, "-db", "-f", str(configuration)], directory / "haproxy.log")
        self.child.wait_until(lambda: accepts_connections(self.port), "haproxy listens")

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.port

    def logs(self) -> str:
        return f"--- haproxy\n{self.child.output()[-3000:]}"

    def stop(self) -> None:
        self.child.stop()
