"""Three nodes behind HAProxy, with a ring of three memcached servers: what one has judged the others know, and no
request is lost when a cache dies, a node dies or a node is drained."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, request, verdict
from tests.support.eicar import EICAR
from tests.support.haproxy import HAProxy
from tests.support.icap_client import IcapClient, ReplyError
from tests.support.icapd import Icapd
from tests.support.memcached import Memcached
from tests.support.process import wait_until

CLIENTS = 4
BODIES = 40
RETRIES = 3
RECOVERED = 0.6
"""Of the look-ups, once two of three servers are left and the bodies have been judged again."""


class Cluster:
    """State: `nodes` and `caches` that run; `proxy` before the nodes."""

    def __init__(self, directory: Path) -> None:
        secret = directory / "cache.secret"
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o600)
        self._stack = ExitStack()
        self.caches = [Memcached(_made(directory / f"cache {number}")) for number in range(3)]
        for cache in self.caches:
            self._stack.callback(cache.kill)
        shared = {
            # 1 s, as a busy machine must not look like a dead server; memory off, so that every hit is a shared one.
            "memcached": {"servers": [cache.address for cache in self.caches], "timeout_s": 1.0, "retry_s": 0.5},
            "memory": {"max_bytes": 0},
            "secret_file": str(secret),
        }
        overrides = {**EICAR_RULE_ALONE, "cache": shared}
        with self._stack:  # what has begun ends, if the next does not begin
            self.nodes = [
                self._stack.enter_context(Icapd(directory / f"node {number}", overrides)) for number in range(3)
            ]
            self.proxy = self._stack.enter_context(HAProxy(directory, [node.address for node in self.nodes]))
            self._stack = self._stack.pop_all()

    def sources(self, node: Icapd, count: int = 0) -> Counter[str]:
        """Where its reports came from, once there are so many."""
        return Counter(str(line["cache"]) for line in node.access_lines(count))

    def stop(self) -> None:
        self._stack.close()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    yield running
    running.stop()


def body_of(number: int) -> bytes:
    return (EICAR if number % 4 == 0 else CLEAN) + b"%d" % number


class Traffic:
    """Clients that ask all the while and, as gateways do, ask again where a connection breaks before its answer.

    State: `answered` counts answers; `wrong` and `lost` stay empty.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_over = threading.Event()
        self._threads = ThreadPoolExecutor(CLIENTS)
        self.answered = 0
        self.wrong: list[tuple[int, str]] = []
        self.lost: list[int] = []

    def __enter__(self) -> Traffic:
        self._running = [self._threads.submit(self._ask_on, first) for first in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for running in self._running:
            running.result()
        self._threads.shutdown()

    def wait_for(self, count: int) -> None:
        """Until so many more have been answered."""
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted, f"{count} more answers", 60)

    def _ask_on(self, first: int) -> None:
        number = first
        client: IcapClient | None = None
        while not self._is_over.is_set():
            for _ in range(RETRIES):
                try:
                    client = client or IcapClient(self._cluster.proxy.address)
                    found = verdict(client.exchange(request(body_of(number % BODIES))))
                    break
                except (ReplyError, OSError):
                    if client is not None:
                        client.close()
                    client = None
            else:
                self.lost.append(number)
                return
            self.answered += 1
            if found != ("MALICIOUS" if number % BODIES % 4 == 0 else "CLEAN"):
                self.wrong.append((number, found))
            number += CLIENTS
        if client is not None:
            client.close()


def test_what_one_node_judged_the_others_know(cluster: Cluster) -> None:
    one, *others = cluster.nodes
    for number in range(BODIES):
        ask(one, body_of(number))
    assert cluster.sources(one, BODIES) == {"miss": BODIES}
    wait_until(lambda: one.metric("icapd_cache_stores_total", tier="memcached", result="stored") >= BODIES, "stored")
    for node in others:
        for number in range(BODIES):
            assert verdict(ask(node, body_of(number))) == ("MALICIOUS" if number % 4 == 0 else "CLEAN")
        assert cluster.sources(node, BODIES) == {"memcached": BODIES}


def test_no_request_is_lost_whatever_dies(cluster: Cluster) -> None:
    with Traffic(cluster) as traffic:
        traffic.wait_for(3 * BODIES)

        cluster.caches[0].kill()
        traffic.wait_for(3 * BODIES)
        before = [cluster.sources(node) for node in cluster.nodes]
        traffic.wait_for(3 * BODIES)
        since = [cluster.sources(node) - counts for node, counts in zip(cluster.nodes, before, strict=True)]
        hits = sum(counts["memcached"] for counts in since)
        assert hits >= RECOVERED * sum(counts.total() for counts in since)

        os.kill(cluster.nodes[0].child.pid, signal.SIGKILL)
        traffic.wait_for(3 * BODIES)

        assert cluster.nodes[1].stop() == 0
        traffic.wait_for(3 * BODIES)
    assert (traffic.wrong, traffic.lost) == ([], [])
    assert cluster.sources(cluster.nodes[2]).total() >= 3 * BODIES
