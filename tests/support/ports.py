"""Free TCP ports on the loopback interface, for programs that must be told a port before they start."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
ATTEMPTS = 200

_given: set[int] = set()
_random = random.SystemRandom()


def free_port() -> int:
    """A port nobody listens on, and never one given out before by this test run.

    Chosen below the kernel's ephemeral range: a port from that range, once released, may be taken by any outgoing
    connection before the program that was promised it starts.
    """
    for _ in range(ATTEMPTS):
        port = _random.randrange(15_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError(f"no free port on {LOOPBACK} in {ATTEMPTS} attempts")


def accepts_connections(port: int) -> bool:
    """Somebody listens on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
