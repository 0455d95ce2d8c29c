"""kill -9 of each kind of process: what is left goes on, what is missing comes back, nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, front_pids, request, trees, verdict, wait_ready
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.icap_client import IcapClient, ReplyError
from tests.support.icapd import Icapd
from tests.support.ports import LOOPBACK, accepts_connections
from tests.support.process import wait_until
from tests.support.tree import descendants, kill, wait_gone

FRONTS = 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    overrides = {**EICAR_RULE_ALONE, "server": {"fronts": FRONTS}, "scanners": {"count": 4}}
    with Icapd(tmp_path_factory.mktemp("killed"), overrides) as server:
        yield server


@pytest.fixture
def server(running: Icapd) -> Icapd:
    """The server, whole again after another test."""
    trees(running, FRONTS)
    wait_ready(running)
    return running


def judges_rightly(server: Icapd, what: str) -> None:
    for number in range(6):
        mark = f"{what} {number}".encode()
        assert verdict(ask(server, CLEAN + mark)) == "CLEAN"
        assert verdict(ask(server, EICAR + mark)) == "MALICIOUS"


def test_scanners(server: Icapd) -> None:
    before = [pid for tree in trees(server, FRONTS) for pid in tree.scanners]
    for pid in before:
        kill(pid)
    after = [pid for tree in trees(server, FRONTS) for pid in tree.scanners]

    assert not set(before) & set(after)
    wait_until(lambda: server.admin("/readyz")[0] == 200, "it is ready again")
    judges_rightly(server, "scanners")


def test_nurseries(server: Icapd) -> None:
    before = trees(server, FRONTS)
    for tree in before:
        kill(tree.nursery)
        wait_gone(tree.scanners)
    server.child.wait_until(lambda: server.admin("/readyz")[0] == 503, "GET /readyz tells of it")
    judges_rightly(server, "nurseries")
    after = trees(server, FRONTS)

    assert [tree.pid for tree in after] == [tree.pid for tree in before]
    assert not {tree.nursery for tree in after} & {tree.nursery for tree in before}


def test_a_front_takes_its_own_along_and_nothing_else(server: Icapd) -> None:
    victim, other = trees(server, FRONTS)
    kill(victim.pid)
    wait_gone(victim.pids)
    after = trees(server, FRONTS)

    assert other in after
    judges_rightly(server, "front")
    assert server.metric("icapd_front_deaths_total") >= 1


def test_connections_wait_for_the_next_front(server: Icapd) -> None:
    """While no front is there the sockets still listen: nobody is refused, and everybody is served afterwards."""
    before = trees(server, FRONTS)
    os.kill(server.child.pid, signal.SIGSTOP)  # so that no front can come while the clients do
    try:
        for tree in before:
            os.kill(tree.pid, signal.SIGKILL)
        wait_gone([tree.pid for tree in before])
        clients = [IcapClient(server.address) for _ in range(20)]
        for number, client in enumerate(clients):
            asked = request(EICAR + b"%d" % number)
            client.send(asked.head(client.host) + asked.remainder())
    finally:
        os.kill(server.child.pid, signal.SIGCONT)
    replies = [client.read_reply() for client in clients]
    for client in clients:
        client.close()

    assert [verdict(reply) for reply in replies] == ["MALICIOUS"] * 20
    assert not set(front_pids(server)) & {tree.pid for tree in before}


def test_who_was_served_by_a_killed_front_sees_the_end(
    server: Icapd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gate = tmp_path_factory.mktemp("gate") / "never"
    with IcapClient(server.address) as client, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(client.exchange, request(order("wait", gate)))
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        for pid in front_pids(server):
            kill(pid)
        with pytest.raises((ReplyError, ConnectionResetError)):
            answer.result()


def test_counters_never_fall_when_a_front_dies(server: Icapd) -> None:
    before = server.metric("icapd_transactions_total")
    judges_rightly(server, "counted")
    wait_until(lambda: server.metric("icapd_transactions_total") == before + 12, "all 12 are counted")
    for pid in front_pids(server):
        kill(pid)
    while_dead = server.metric("icapd_transactions_total")
    trees(server, FRONTS)
    judges_rightly(server, "afterwards")

    assert while_dead == before + 12
    wait_until(lambda: server.metric("icapd_transactions_total") == before + 24, "all 24 are counted")


def test_scrapes_are_answered_and_never_fall_while_fronts_die(server: Icapd) -> None:
    """What a front last said is not forgotten, and one that cannot say anything keeps nobody waiting."""
    judges_rightly(server, "scraped")
    is_over = threading.Event()

    def scraped() -> list[float]:
        sums = []
        while not is_over.is_set():
            status, text = server.admin("/metrics")
            assert status == 200
            sums.append(sum_of(text, "icapd_transactions_total"))
        return sums

    with ThreadPoolExecutor(3) as asking:
        scrapers = [asking.submit(scraped) for _ in range(3)]
        try:
            for _ in range(2):
                for pid in front_pids(server):
                    kill(pid)
                trees(server, FRONTS)
            judges_rightly(server, "scraped afterwards")
        finally:
            is_over.set()
        sums = [scraper.result() for scraper in scrapers]

    assert all(len(each) > 3 for each in sums)
    assert all(each == sorted(each) for each in sums)
    assert server.metric("icapd_transactions_total") >= max(map(max, sums))
    assert server.metric("icapd_fronts") == FRONTS


def sum_of(text: str, name: str) -> float:
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_the_supervisor_while_a_scan_hangs(serve: Serve) -> None:
    """All go, though nobody is left to tell the fronts when to give up, and leave the port to others."""
    server = serve({"server": {"fronts": FRONTS}, "scanners": {"count": 4}})
    pids = descendants(server.child.pid)
    assert len(pids) == FRONTS * 4
    with IcapClient(server.address) as idle, IcapClient(server.address) as busy:
        assert verdict(idle.exchange(request(CLEAN))) == "CLEAN"
        asked = request(order("hang"))
        busy.send(asked.head(busy.host) + asked.remainder())
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        os.kill(server.child.pid, signal.SIGKILL)
        wait_gone(pids)

    assert not accepts_connections(server.port)
    with socket.create_server((LOOPBACK, server.port)):
        pass
