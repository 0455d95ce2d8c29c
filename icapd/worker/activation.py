"""Sockets that a service manager opened and handed over (sd_listen_fds(3)): used instead of binding.

Whose name is `admin` is the admin's; all others are for ICAP clients, in the place of `server.listen`.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field

from icapd.errors import ConfigurationError, Problem

_FIRST_FD = 3
_ADMIN = "admin"
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(slots=True)
class Inherited:
    """What was handed over."""

    icap: list[socket.socket] = field(default_factory=list)
    admin: socket.socket | None = None


def take_inherited(environ: MutableMapping[str, str] = os.environ, first_fd: int = _FIRST_FD) -> Inherited:
    """The sockets meant for this process. Their variables go, so that no child takes them for its own.

    Raises: ConfigurationError for a descriptor that is no listening stream socket.
    """
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    inherited = Inherited()
    if pid != str(os.getpid()) or not count.isdigit():
        return inherited
    labels = [*names.split(":"), *[""] * int(count)]
    problems = []
    for offset in range(int(count)):
        try:
            listener = _listener(first_fd + offset)
        except OSError as error:
            problems.append(Problem("LISTEN_FDS", f"descriptor {first_fd + offset}: {error.strerror or error}"))
            continue
        if labels[offset] == _ADMIN:
            inherited.admin = listener
        else:
            inherited.icap.append(listener)
    if problems:
        raise ConfigurationError(problems)
    return inherited


def _listener(descriptor: int) -> socket.socket:
    """Raises: OSError."""
    os.set_inheritable(descriptor, False)
    listener = socket.socket(fileno=descriptor)
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError("it is no listening stream socket")
    listener.setblocking(False)
    return listener


def share_out(listeners: list[socket.socket], fronts: int) -> list[list[socket.socket]]:
    """For each front the sockets it accepts from.

    Of sockets with the same address (ReusePort=yes, and the address written several times) the kernel gives each its
    part of the clients, so all are served, by one front each where there are enough. Otherwise fronts share one: the
    kernel wakes all of them for a client, and the first takes it.
    """
    shares: list[list[socket.socket]] = [[] for _ in range(fronts)]
    for group in _by_address(listeners):
        for index in range(max(fronts, len(group))):
            listener = group[index % len(group)]
            shares[index % fronts].append(listener if index < len(group) else listener.dup())
    return shares


def _by_address(listeners: list[socket.socket]) -> Iterator[list[socket.socket]]:
    groups: defaultdict[object, list[socket.socket]] = defaultdict(list)
    for listener in listeners:
        groups[listener.getsockname()].append(listener)
    yield from groups.values()


def address_of(listener: socket.socket) -> str:
    """As the configuration would write it."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"
