"""Too few file descriptors are told of at the start; none at all cost nothing for good."""

from __future__ import annotations

import resource

import msgspec

from icapd.observe.log import EventLog
from icapd.service import warn_of_few_descriptors
from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, front_pids, verdict
from tests.support.process import wait_until
from tests.support.tree import kill


def warnings(limit: int, connections: int, fronts: int) -> list[dict[str, object]]:
    lines: list[bytes] = []
    warn_of_few_descriptors(limit, connections, fronts, 3, EventLog("info", lines.append, "supervisor"))
    return [msgspec.json.decode(line) for line in lines]


def test_what_is_just_enough_and_one_less() -> None:
    """A front has its share of the connections, rounded up, two descriptors for each scanner and 64 for the rest."""
    wanted = 501 + 6 + 64

    assert warnings(wanted, 1001, 2) == []
    [warning] = warnings(wanted - 1, 1001, 2)
    assert (warning["event"], warning["level"]) == ("descriptors-few", "warning")
    assert (warning["limit"], warning["wanted"]) == (wanted - 1, wanted)


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
