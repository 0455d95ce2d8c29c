"""Servers for the cache's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cache.tier_bench import Bench, StartTier
from tests.support.memcached import Memcached


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[Memcached]:
    """A memcached on a loopback port."""
    server = Memcached(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def second_memcached(tmp_path: Path) -> Iterator[Memcached]:
    """Another one beside it, on a Unix socket."""
    server = Memcached(tmp_path, socket_path=tmp_path / "second.sock")
    yield server
    server.kill()


@pytest.fixture
def start_tier() -> Iterator[StartTier]:
    with ExitStack() as stack:

        def start(servers: list[str], **settings: Any) -> Bench:
            bench = Bench(servers, **settings)
            stack.callback(bench.tier.stop)
            return bench

        yield start


@pytest.fixture
def bench(memcached: Memcached, start_tier: StartTier) -> Bench:
    return start_tier([memcached.address])
