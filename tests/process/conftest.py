"""Servers whose scanners know the puppet engine beside the shipped ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.servers import EICAR_RULE_ALONE
from tests.support.icapd import Icapd, Table, merged
from tests.support.installed import engines_are_installed as engines_are_installed

Serve = Callable[..., Icapd]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, each in a folder of its own; ends them after the test."""
    started: list[Icapd] = []

    def serve_one(overrides: Table | None = None) -> Icapd:
        started.append(Icapd(tmp_path / f"server-{len(started)}", merged(EICAR_RULE_ALONE, overrides or {})))
        return started[-1]

    yield serve_one
    for server in started:
        server.stop()
