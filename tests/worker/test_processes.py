"""A child that cannot be started is a death like any other: told once, later, and without an exception."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import cast

import pytest

from icapd.reactor import Reactor
from icapd.worker.processes import NOT_STARTED, Child
from tests.support.reactor import reactor, wait_until


def test_a_child_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    ends: list[tuple[int, int]] = []
    child = Child(
        cast(Reactor, reactor), "icapd.worker.front", [], {}, lambda code, number: ends.append((code, number))
    )

    assert (child.pid, ends) == (None, [])
    child.signal(signal.SIGKILL)
    wait_until(lambda: ends)
    assert ends == [(NOT_STARTED, 0)]
