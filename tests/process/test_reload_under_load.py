"""Reloads under load: no request is lost, each is judged by one of the two rule sets, nothing is left over."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.process.conftest import Serve
from tests.process.reloading import MARK, Rules, found, reload
from tests.process.servers import CLEAN, front_pids, request, trees
from tests.support.icap_client import IcapClient, Reply
from tests.support.icapd import Icapd
from tests.support.process import wait_until

RELOADS = 6
CLIENTS = 4
PAUSE_S = 0.04
NAMES = ("first", "second")


def client_of(server: Icapd, client: int, is_over: threading.Event) -> list[tuple[bool, Reply]]:
    """Unique bodies on one connection, every other one with the mark, until it is over."""
    replies = []
    with IcapClient(server.address) as connection:
        number = 0
        while not is_over.wait(PAUSE_S):
            number += 1
            is_marked = number % 2 == 0
            body = (MARK if is_marked else CLEAN) + b" %d of %d" % (number, client)
            replies.append((is_marked, connection.exchange(request(body))))
    return replies


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def reload_under_load(serve: Serve, tmp_path: Path, reloads: int) -> None:
    """Raises: AssertionError when anything was lost, judged by neither rule set, or left over."""
    rules = Rules(tmp_path / "rules")
    server = rules.serve(serve, {"server": {"fronts": 2}, "scanners": {"count": 4}})
    trees(server, 2)
    tags = {found(server)}
    fronts = front_pids(server)
    before = [descriptors(pid) for pid in (server.child.pid, *fronts)]
    is_over = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as running:
        clients = [running.submit(client_of, server, number, is_over) for number in range(CLIENTS)]
        try:
            for number in range(reloads):
                rules.write(NAMES[(number + 1) % 2])
                assert reload(server).result == "reloaded"
                tags.add(found(server, b" after %d" % number))
        finally:
            is_over.set()
        replies = [pair for client in clients for pair in client.result()]

    assert {name for _, name in tags} == set(NAMES)
    assert len(tags) == 2
    assert {(reply.header("ISTag"), reply.header("X-Virus-ID")) for is_marked, reply in replies if is_marked} == tags
    assert {reply.status for is_marked, reply in replies if is_marked} == {200}
    assert {reply.status for is_marked, reply in replies if not is_marked} == {204}
    assert len(replies) > reloads * CLIENTS
    assert server.metric("icapd_reloads_total", result="reloaded") == reloads
    assert server.metric("icapd_internal_errors_total") == 0
    assert server.metric("icapd_transactions_total") >= len(replies)
    assert front_pids(server) == fronts
    trees(server, 2)
    wait_until(
        lambda: all(
            descriptors(pid) <= count + 1 for pid, count in zip((server.child.pid, *fronts), before, strict=True)
        ),
        "no descriptor is left behind",
    )


def test_reloads_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    reload_under_load(serve, tmp_path, RELOADS)
