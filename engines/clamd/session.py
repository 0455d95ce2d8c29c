"""One session with clamd (IDSESSION): numbered questions, one at a time, each answered by a line that ends with NUL.

clamd(8) allows several questions at once. One at a time costs a connection each, and lets a body that takes too long
be given up without taking others along: clamd has no way to take a question back but the end of the connection.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from typing import Final

from icapd.scan.connections import ConnectionGone, Wire
from icapd.scan.engine_api import RemoteBody, RemoteFailed

PIECE_BYTES: Final = 128 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024
_NUMBERED = re.compile(r"([0-9]{1,10}): (.*)", re.DOTALL)


class Session(Wire):
    """State: `_asked`, the number of the last question; 0 before the session is opened."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    async def version(self) -> str:
        """Raises: RemoteFailed."""
        if self._asked:
            return await self._answer_to(b"zVERSION\0")
        # Alone in its packet: clamd refuses a descriptor that arrives together with the session's opening.
        return await self._answer_to(b"zIDSESSION\0zVERSION\0")

    async def scan_descriptor(self, body: RemoteBody) -> str:
        """Has clamd map the body. Raises: RemoteFailed."""
        await self._open()
        try:
            descriptor = read_only(body.descriptor())
        except OSError as error:
            raise RemoteFailed(f"the body cannot be passed on: {error}") from error
        try:
            # Past Twisted, whose buffer is empty here: it would send the descriptor with the command's first byte,
            # and clamd takes it with the command or behind it only. One zero byte belongs to it.
            socket.send_fds(self.transport.getHandle(), [b"zFILDES\0\0"], [descriptor])
        except OSError as error:
            raise ConnectionGone(f"clamd does not take the body: {error.strerror}") from error
        finally:
            os.close(descriptor)
        return await self._answer_to(b"")

    async def scan_stream(self, body: RemoteBody) -> str:
        """Sends clamd the body. Raises: RemoteFailed."""
        await self._open()
        if body.size_bytes <= PIECE_BYTES:
            return await self._answer_to(b"".join(_stream(body)))
        await self.stream(_stream(body))
        return await self._answer_to(b"")

    async def _open(self) -> None:
        if not self._asked:
            await self.version()

    async def _answer_to(self, question: bytes) -> str:
        """Raises: RemoteFailed for an answer to another question, or for none."""
        self._asked += 1
        if question:
            self.send(question)
        received = await self.receive()
        while not received.endswith(b"\0"):
            if len(received) > ANSWER_BYTES_MAX:
                raise RemoteFailed("clamd's answer has no end")
            received += await self.receive()
        match = _NUMBERED.fullmatch(received[:-1].decode("utf-8", "replace"))
        if match is None or int(match[1]) != self._asked:
            raise RemoteFailed(f"not clamd's answer {self._asked}: {received[:100]!r}")
        if match[2].endswith("ERROR"):
            self.is_spent = True  # most of them end the session on clamd's side
        return match[2]


def read_only(descriptor: int) -> int:
    """The same file anew, for another program: it cannot change what scanners look at meanwhile. Raises: OSError."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def _stream(body: RemoteBody) -> Iterator[bytes]:
    offset, start = 0, b"zINSTREAM\0"
    while piece := body.read(offset, PIECE_BYTES):
        yield start + len(piece).to_bytes(4, "big") + piece
        offset, start = offset + len(piece), b""
    yield start + bytes(4)
