"""A load test in miniature: scanners are killed all the while, and no answer is wrong or missing."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, request, trees, verdict
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply
from tests.support.icapd import Icapd
from tests.support.tree import kill

RATE_PER_S = 200
DURATION_S = 4
CLIENTS = 8
KILL_EVERY_S = 0.5


def is_infected(number: int) -> bool:
    return number % 4 == 0


def body_of(number: int) -> bytes:
    return (EICAR if is_infected(number) else CLEAN) + b"%d" % number


def client_of(server: Icapd, first: int, began: float) -> list[tuple[int, Reply]]:
    """Every CLIENTS-th request from `first` on, each at its time, on one connection."""
    replies = []
    with IcapClient(server.address) as client:
        for number in range(first, RATE_PER_S * DURATION_S, CLIENTS):
            time.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            replies.append((number, client.exchange(request(body_of(number)))))
    return replies


def kill_scanners(server: Icapd, is_over: threading.Event) -> int:
    kills = 0
    chance = random.Random(0)
    while not is_over.wait(KILL_EVERY_S):
        [tree] = trees(server)
        kill(chance.choice(tree.scanners))
        kills += 1
    return kills


def test_killed_scanners_make_no_wrong_answer(serve: Serve) -> None:
    server = serve()
    is_over = threading.Event()
    with ThreadPoolExecutor(CLIENTS + 1) as running:
        killing = running.submit(kill_scanners, server, is_over)
        began = time.monotonic()
        clients = [running.submit(client_of, server, first, began) for first in range(CLIENTS)]
        try:
            replies = [pair for client in clients for pair in client.result()]
        finally:
            is_over.set()
        kills = killing.result()

    assert sorted(number for number, _ in replies) == list(range(RATE_PER_S * DURATION_S))
    for number, reply in replies:
        assert verdict(reply) == ("MALICIOUS" if is_infected(number) else "CLEAN"), number
        assert reply.status == (204 if verdict(reply) == "CLEAN" else 200)
    assert kills >= DURATION_S / KILL_EVERY_S / 2
    assert server.metric("icapd_internal_errors_total") == 0
