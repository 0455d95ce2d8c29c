"""What tests ask of a running server, and which processes it consists of."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd, Table
from tests.support.process import wait_until
from tests.support.tree import children, runs_with

REQ_HDR = b"GET http://origin.test/file HTTP/1.1\r\nHost: origin.test\r\n\r\n"
EICAR_RULE_ALONE: Table = {"engines": {"yara": {"rules": ["conf/rules/eicar.yar"]}}}
"""What is asked here is not which rules there are, and all of them take their time to build, in every nursery."""
CLEAN = b"An ordinary text.\n"


def request(body: bytes, service: str = "/scan", allow: str = "204") -> Request:
    """A RESPMOD request for this body."""
    res_hdr = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    return Request("RESPMOD", service, REQ_HDR, res_hdr, body, allow=allow)


def ask(server: Icapd, body: bytes, service: str = "/scan", allow: str = "204") -> Reply:
    """The reply on a connection of its own."""
    with IcapClient(server.address) as client:
        return client.exchange(request(body, service, allow))


def verdict(reply: Reply) -> str:
    """The verdict that the reply names."""
    return (reply.header("X-Response-Info") or "").partition(";")[0]


@dataclass(frozen=True)
class FrontTree:
    """A front and what is below it."""

    pid: int
    nursery: int
    scanners: list[int]

    @property
    def pids(self) -> list[int]:
        return [self.pid, self.nursery, *self.scanners]


def front_pids(server: Icapd) -> list[int]:
    return [pid for pid in children(server.child.pid) if runs_with(pid, "icapd.worker.front")]


def trees(server: Icapd, fronts: int = 1, scanners: int = 2) -> list[FrontTree]:
    """Every front with all its processes, once they are complete."""
    found: list[FrontTree] = []

    def are_complete() -> bool:
        found.clear()
        for pid in front_pids(server):
            for nursery in children(pid):
                forks = [each for each in children(nursery) if runs_with(each, "icapd.worker.nursery")]
                if len(forks) == scanners:
                    found.append(FrontTree(pid, nursery, forks))
        return len(found) == fronts

    wait_until(are_complete, f"{fronts} fronts of {scanners} scanners")
    return list(found)


def wait_ready(server: Icapd) -> None:
    server.child.wait_until(lambda: server.admin("/readyz")[0] == 200, "GET /readyz answers 200")
