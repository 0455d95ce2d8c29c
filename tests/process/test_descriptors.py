"""Too few file descriptors are told of at the start; none at all cost nothing for good."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

import msgspec

from icapd.observe.log import EventLog
from icapd.worker.descriptors import room_for_clients, shares_of, warn_of_few_descriptors
from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, front_pids, request, trees, verdict
from tests.support.icap_client import IcapClient, Request
from tests.support.process import wait_until
from tests.support.tree import kill

OPTIONS = Request("OPTIONS", "/scan")


def warnings(limit: int, connections: int, fronts: int) -> list[dict[str, object]]:
    lines: list[bytes] = []
    warn_of_few_descriptors(limit, connections, fronts, 3, EventLog("info", lines.append, "supervisor"))
    return [msgspec.json.decode(line) for line in lines]


def test_what_is_just_enough_and_one_less() -> None:
    """A front has its share of the connections, rounded up, two descriptors for each scanner and 96 for the rest."""
    wanted = 501 + 6 + 96

    assert warnings(wanted, 1001, 2) == []
    [warning] = warnings(wanted - 1, 1001, 2)
    assert (warning["event"], warning["level"]) == ("descriptors-few", "warning")
    assert (warning["limit"], warning["wanted"], warning["connections"]) == (wanted - 1, wanted, 1000)


def test_a_front_has_room_for_one_client_at_least() -> None:
    assert [room_for_clients(limit, 3) for limit in (3, 103, 104, 1024)] == [1, 1, 2, 922]


def test_too_little_room_is_shared_in_proportion() -> None:
    assert shares_of(1300, (1200, 100)) == (1200, 100)
    assert shares_of(1299, (1200, 100)) == (1199, 99)
    assert shares_of(1, (1200, 100)) == (1, 1)


def test_clients_leave_enough_to_work_with(serve: Serve) -> None:
    """More of them than there are descriptors for are told so or closed, and no body is refused on their account."""
    server = serve()
    room = 10
    lower_limit(server.child.pid, room + 2 * 2 + 96)
    kill(front_pids(server)[0])
    trees(server)  # the next front, with all its scanners
    with ExitStack() as stack:
        clients = [stack.enter_context(IcapClient(server.address)) for _ in range(room)]
        assert [client.exchange(OPTIONS).status for client in clients] == [200] * room
        late = [stack.enter_context(socket.create_connection(server.address, timeout=10)) for _ in range(33)]
        assert [one.recv(12) for one in late] == [b"ICAP/1.0 503"] * 32 + [b""]

        [tree] = trees(server)
        for pid in tree.scanners:
            kill(pid)
        assert {verdict(client.exchange(request(bytes(300_000)))) for client in clients} == {"CLEAN"}
    refused = '"event":"client-refused"'
    wait_until(lambda: refused in server.child.output(), "it says whom it refused")


def lower_limit(pid: int, descriptors: int) -> None:
    """For the processes that it starts from now on."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def test_a_server_warns_and_lives_through_a_shortage(serve: Serve) -> None:
    """What its supervisor cannot start for want of descriptors it tries again."""
    server = serve({"server": {"max_connections": 1_000_000_000}})
    wait_until(lambda: '"descriptors-few"' in server.child.output(), "the warning")
    supervisor, [before] = server.child.pid, front_pids(server)
    soft, hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, hard))
    try:
        kill(before)
        server.child.wait_until(lambda: server.child.output().count("Too many open files") >= 2, "it says so")
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (soft, hard))

    assert verdict(ask(server, CLEAN)) == "CLEAN"
    assert before not in front_pids(server)
