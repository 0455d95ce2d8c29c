"""A server that says what a test tells it, whatever the client says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK

Script = Callable[[socket.socket], object]
"""Talks with the one client; the connection is closed behind it."""


class Scripted:
    """Listens on loopback and gives its first connection to the script. A context manager."""

    def __init__(self, script: Script) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.url = f"icap://{LOOPBACK}:{self._listener.getsockname()[1]}/service"
        self._script = script
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(30)
            self._script(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(30)
        self._listener.close()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What the client sends, up to this end."""
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data
