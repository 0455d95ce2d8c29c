"""What a service manager is told (sd_notify(3)): readiness, reloads, the end, and that the fronts are alive.

Without NOTIFY_SOCKET nobody is told anything.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

_SEND_S = 1.0
_STATUS_MAX = 300


class ServiceManager:
    """State: `_owes_ready` while the service manager waits for READY=1; `_is_reloading` between the two ends of a
    reload, when readiness is not to be told."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """The variables go, so that no child speaks in our name."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watchdog_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_watched = watchdog_us.isdigit() and watchdog_pid in ("", str(os.getpid()))
        self.watchdog_s = int(watchdog_us) / 1e6 if is_watched and address else 0.0
        """How often at least it wants to hear of us; 0 for never."""
        self._owes_ready = True
        self._is_reloading = False

    def readiness(self, is_ready: bool, status: str) -> None:
        """READY=1 goes out where it is awaited and true; every other time the status alone."""
        if self._is_reloading:
            return
        if is_ready and self._owes_ready:
            self._owes_ready = False
            self._tell("READY=1", f"STATUS={_line(status)}")
        else:
            self._tell(f"STATUS={_line(status)}")

    def reload_begins(self) -> None:
        """One before the first READY=1 is a part of the start."""
        self._is_reloading = True
        if not self._owes_ready:
            self._owes_ready = True
            now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=reloading")

    def reload_ends(self) -> None:
        """`readiness` is to be told next."""
        self._is_reloading = False

    def stopping(self) -> None:
        self._is_reloading = True
        self._tell("STOPPING=1", "STATUS=draining")

    def alive(self) -> None:
        """The watchdog's time begins anew."""
        self._tell("WATCHDOG=1")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_S)
            sender.sendto("\n".join(assignments).encode(), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_MAX]
