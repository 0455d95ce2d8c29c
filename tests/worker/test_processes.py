"""A child that cannot be started is a death like any other: told once, later, and without an exception."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import cast

import pytest

from icapd.reactor import Reactor
from icapd.worker.processes import NOT_STARTED, Child, Ended, back_off_s
from tests.support.reactor import reactor, wait_until


def test_a_child_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    ends: list[Ended] = []
    child = Child(cast(Reactor, reactor), "icapd.worker.front", [], {}, ends.append)

    assert (child.pid, ends) == (None, [])
    child.signal(signal.SIGKILL)
    wait_until(lambda: ends)
    [ended] = ends
    assert (ended.exit_code, ended.signal_number) == (NOT_STARTED, 0)
    assert "No such file or directory" in ended.error
    assert ended.fields() == {"exit_code": NOT_STARTED, "signal": 0, "error": ended.error}


def test_pauses_grow_to_a_limit() -> None:
    """However often it failed: a float cannot hold every power of two."""
    pauses_s = [back_off_s(0.1, failures) for failures in (0, 1, 5, 6, 10_000)]

    assert pauses_s == [0.1, 0.2, 3.2, 5.0, 5.0]
