"""Servers for the cache's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
