"""Fixtures of the tests through real proxies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.nginx_traffic import StartNginx
from tests.support.nginx import Nginx
from tests.support.origin import Origin
from tests.support.ports import free_port


@pytest.fixture
def start(origin: Origin, tmp_path: Path) -> Iterator[StartNginx]:
    """Starts an nginx that asks the services of these URLs; more keywords as Nginx takes them."""
    with contextlib.ExitStack() as running:

        def start_one(urls: str, **options: Any) -> Nginx:
            directory = tmp_path / f"nginx{free_port()}"
            given = {"reqmod": urls, "respmod": urls, "origin_port": origin.port, **options}
            return running.enter_context(Nginx(directory, **given))

        yield start_one
