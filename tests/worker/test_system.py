"""A system that lacks what icapd cannot do without is told of before anything starts."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from icapd.errors import ConfigurationError
from icapd.worker.system import require_system_calls


def refuse(*arguments: object) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_here_nothing_is_missing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    require_system_calls()

    assert len(os.listdir("/proc/self/fd")) == before


def test_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with pytest.raises(ConfigurationError) as caught:
        require_system_calls()

    assert [str(problem).partition(";")[0] for problem in caught.value.problems] == [
        "system: memfd_create: Function not implemented",
        "system: pidfd_send_signal: Function not implemented",
    ]
