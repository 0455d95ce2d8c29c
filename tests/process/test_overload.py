"""More than the scanners can do: their peak is kept, who cannot wait is told at once, idle clients cost nothing."""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.net.messages import resident_bytes
from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, front_pids, request, verdict
from tests.support.engines import order
from tests.support.icap_client import IcapClient
from tests.support.icapd import Icapd
from tests.support.process import wait_until

SCAN_S = 0.05
PEAK_PER_S = 2 / SCAN_S
OVERLOAD = 5
CLIENTS = 40
DURATION_S = 4.0
REFUSED_WITHIN_S = 0.1
QUEUE_WAIT_S = 0.5
IDLE = 4000

_numbers = itertools.count()


def paced_client(server: Icapd, rate_per_s: float, first_at: float) -> list[tuple[str, float]]:
    """Asks at a steady rate, late where an answer is. Returns: verdict and seconds of each answer."""
    answers = []
    with IcapClient(server.address) as client:
        for number in range(int(rate_per_s * DURATION_S)):
            time.sleep(max(0.0, first_at + number / rate_per_s - time.monotonic()))
            asked = request(order("sleep", f"{SCAN_S} {next(_numbers)}"))
            began = time.monotonic()
            answers.append((verdict(client.exchange(asked)), time.monotonic() - began))
    return answers


def answers_at(server: Icapd, rate_per_s: float) -> tuple[list[tuple[str, float]], float]:
    """The answers to so many requests a second, and how long all took."""
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as asking:
        each_per_s = rate_per_s / CLIENTS
        running = [
            asking.submit(paced_client, server, each_per_s, began + number / rate_per_s) for number in range(CLIENTS)
        ]
        answers = [answer for client in running for answer in client.result()]
    return answers, time.monotonic() - began


def test_five_times_the_load_keeps_the_peak_and_refuses_at_once(serve: Serve) -> None:
    server = serve({"scanners": {"queue_wait_s": QUEUE_WAIT_S}})
    within, took_s = answers_at(server, PEAK_PER_S)
    peak_per_s = sum(found == "CLEAN" for found, _ in within) / took_s
    beyond, took_s = answers_at(server, OVERLOAD * PEAK_PER_S)
    scanned = [seconds for found, seconds in beyond if found == "CLEAN"]
    refused = sorted(seconds for found, seconds in beyond if found == "ERROR")

    assert len(scanned) + len(refused) == len(beyond)
    assert refused
    assert len(scanned) / took_s >= 0.8 * peak_per_s
    assert refused[int(0.95 * len(refused))] < REFUSED_WITHIN_S
    assert statistics.median(scanned) < 3 * QUEUE_WAIT_S
    lines = server.access_lines(1, outcome="overloaded")
    assert {(line["rule"], tuple(line["findings"])) for line in lines} == {("overload", ("scan-queue-full",))}
    assert len(lines) == len(refused) == server.metric("icapd_scans_refused_total", size="small")
    later, _ = answers_at(server, PEAK_PER_S / 2)
    assert {found for found, _ in later} == {"CLEAN"}


@contextmanager
def idle_clients(server: Icapd, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that say this and nothing more."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(server.address)) for _ in range(IDLE)]
        for client in clients:
            if sent:
                client.sendall(sent)
        wait_until(lambda: server.metric("icapd_open_connections") >= IDLE, "all are connected", 60)
        yield clients


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_of_a_request_s(server: Icapd, count: int = 1500) -> float:
    """CPU time of the front: what others do on the machine does not count."""
    [front] = front_pids(server)
    before = cpu_s(front)
    with IcapClient(server.address) as client:
        for _ in range(count):
            assert client.exchange(request(CLEAN)).status == 204
    return (cpu_s(front) - before) / count


@pytest.fixture
def patient(serve: Serve) -> Icapd:
    return serve({"server": {"max_connections": 2 * IDLE}, "timeouts": {"idle_s": 600.0, "head_s": 600.0}})


def test_idle_clients_cost_next_to_nothing(patient: Icapd) -> None:
    cost_of_a_request_s(patient)
    ratios: list[float] = []
    while not ratios or (ratios[-1] >= 1.25 and len(ratios) < 4):  # the machine's own pace may change in between
        alone_s = min(cost_of_a_request_s(patient) for _ in range(2))
        with idle_clients(patient):
            ratios.append(min(cost_of_a_request_s(patient) for _ in range(2)) / alone_s)
    assert min(ratios) < 1.25, ratios
    with idle_clients(patient) as clients:
        clients[-1].sendall(b"OPTIONS icap://x/scan ICAP/1.0\r\nHost: x\r\n\r\n")
        assert clients[-1].recv(100).startswith(b"ICAP/1.0 200 ")


def test_slow_heads_take_what_they_have_sent(patient: Icapd) -> None:
    [front] = front_pids(patient)
    head = b"RESPMOD icap://x/scan ICAP/1.0\r\nHost: x\r\nX-Slow: " + b"x" * 2000
    before = resident_bytes(front)
    with idle_clients(patient, head):
        assert verdict(ask(patient, CLEAN)) == "CLEAN"
        assert (resident_bytes(front) - before) / IDLE < 16 * 1024
