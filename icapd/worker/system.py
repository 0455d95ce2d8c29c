"""What icapd cannot do without: system calls that an old kernel lacks, or a container's filter refuses.

Without them a server would come up and never be ready, or be unable to end a scanner at its deadline.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from icapd.errors import ConfigurationError, Problem


def require_system_calls() -> None:
    """Tries each once. Raises: ConfigurationError with those that are refused."""
    problems = []
    for name, attempt in _NEEDED:
        try:
            attempt()
        except OSError as error:
            what = f"{name}: {error.strerror}; Linux 5.3 has it, unless a container's system-call filter refuses it"
            problems.append(Problem("system", what))
    if problems:
        raise ConfigurationError(problems)


def _make_memfd() -> None:
    os.close(os.memfd_create("icapd-trial", os.MFD_CLOEXEC))


def _open_pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _signal_pidfd() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(pidfd, 0)
    finally:
        os.close(pidfd)


_NEEDED: tuple[tuple[str, Callable[[], None]], ...] = (
    ("memfd_create", _make_memfd),
    ("pidfd_open", _open_pidfd),
    ("pidfd_send_signal", _signal_pidfd),
)
