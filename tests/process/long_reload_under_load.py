"""What `test_reload_under_load` tries six times, twenty times."""

from __future__ import annotations

from pathlib import Path

from tests.process.conftest import Serve
from tests.process.test_reload_under_load import reload_under_load


def test_twenty_reloads_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    reload_under_load(serve, tmp_path, 20)
