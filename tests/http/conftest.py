"""Servers with an HTTP listener. Their scanners know the puppet engine beside the shipped ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.client import Server
from tests.support.icapd import Table
from tests.support.installed import engines_are_installed as engines_are_installed

Serve = Callable[..., Server]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One front; files of a mebibyte at most, four in a form."""
    with Server(tmp_path_factory.mktemp("http"), max_body_bytes=1024 * 1024, max_files=4) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, each in a folder of its own; ends them after the test."""
    started: list[Server] = []

    def serve_one(tables: Table | None = None, scheme: str = "http", **keys: Any) -> Server:
        started.append(Server(tmp_path / f"server-{len(started)}", tables, scheme, **keys))
        return started[-1]

    yield serve_one
    for server in started:
        server.stop()
