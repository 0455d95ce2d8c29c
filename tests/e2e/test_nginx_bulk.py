"""nginx under many and large bodies: whole, in little memory, and at what cost. long_nginx.py has the longer form."""

from __future__ import annotations

import hashlib
import http.client
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.nginx_traffic import StartNginx, clean_bytes, stub, upload, wrong_downloads
from tests.support.c_icap import CIcap
from tests.support.fetch import fetch
from tests.support.icap_stub import Request
from tests.support.icapd import Icapd
from tests.support.nginx import Nginx
from tests.support.origin import Origin
from tests.support.ports import LOOPBACK

MB = 1_000_000
MEMORY_MAX_BYTES = 20 * MB
"""Of the worker, at its peak, shared libraries included; idle, it has 10 MB."""
ADDED_MAX_S = 0.001
ROUNDS, IN_A_ROW = 40, 10


def test_large_downloads_are_whole_and_the_worker_stays_small(start: StartNginx, icapd: Icapd) -> None:
    nginx = start(icapd.url("/respmod"))

    assert wrong_downloads(nginx, clean_bytes(50 * MB), count=4, at_once=4) == []

    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_large_uploads_are_whole_and_the_worker_stays_small(start: StartNginx, icapd: Icapd, origin: Origin) -> None:
    nginx = start(icapd.url("/reqmod"))

    with ThreadPoolExecutor(2) as browsers:
        answers = list(browsers.map(lambda number: upload(nginx, 50 * MB, f"/up/{number}"), range(2)))

    assert [answer.status for answer in answers] == [201] * 2
    for number in range(2):
        [received] = origin.uploads(f"/up/{number}")
        assert received.sha256 == hashlib.sha256(clean_bytes(50 * MB, f"/up/{number}")).hexdigest()
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_c_icaps_echo_gives_everything_back(start: StartNginx, origin: Origin) -> None:
    """It sends while it reads, and stops reading when its own output is not taken."""
    with CIcap() as server:
        nginx = start(server.url)
        assert wrong_downloads(nginx, clean_bytes(50 * MB), count=4, at_once=4) == []
        answers = [upload(nginx, size) for size in (1, 100_000, 20 * MB)]

    assert [answer.status for answer in answers] == [201] * 3
    assert {line.verdict for line in nginx.lines("/files/large", 4)} == {"allowed"}


def test_many_clients_at_once_and_the_worker_stays_small(start: StartNginx, icapd: Icapd) -> None:
    """As many as hold 64 KB each: the most that is held of a response."""
    nginx = start(icapd.url("/respmod"))

    assert wrong_downloads(nginx, clean_bytes(65_536), count=500, at_once=50) == []

    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_hanging_server_holds_no_memory(start: StartNginx, origin: Origin) -> None:
    """Fifty large responses wait for a server that reads nothing."""
    with stub(Request.hang) as server:
        nginx = start(server.url(), timeouts="connect=5 send=1 read=1 total=5")
        (nginx.files / "large").write_bytes(clean_bytes(5 * MB))
        with ThreadPoolExecutor(50) as browsers:
            answers = list(browsers.map(lambda _: fetch(nginx.port, nginx.url("/files/large")), range(50)))

    assert {answer.status for answer in answers} == {503}
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_added_time_of_a_small_response(start: StartNginx, icapd: Icapd) -> None:
    """Rounds with and without scanning take turns; the one least disturbed by the machine counts."""
    nginx = start(icapd.url("/respmod"))
    (nginx.files / "small").write_bytes(clean_bytes(10_000))

    added = [
        statistics.median(seconds_of(nginx, "/files/small")) - statistics.median(seconds_of(nginx, "/plain/small"))
        for _ in range(ROUNDS)
    ]

    assert {line.verdict for line in nginx.lines("/files/small", ROUNDS * IN_A_ROW)} == {"allowed"}
    assert min(added) < ADDED_MAX_S


def seconds_of(nginx: Nginx, path: str) -> list[float]:
    """Of each of some requests in a row, on one connection."""
    connection = http.client.HTTPConnection(LOOPBACK, nginx.port)
    seconds = []
    for _ in range(IN_A_ROW):
        began = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        assert len(response.read()) == 10_000
        seconds.append(time.perf_counter() - began)
    connection.close()
    return seconds
