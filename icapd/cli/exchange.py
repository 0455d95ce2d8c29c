"""One request and its reply over a socket: writes and reads at the same time, so that neither side waits in vain.

An echoing server sends the body back while it comes in: a client that only wrote would fill both sides' buffers.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from icapd.config.address import Endpoint
from icapd.errors import IcapdError, PeerProtocolError
from icapd.icap.reply import ReplyHead, ReplyReader
from icapd.icap.writer import render_chunk, render_end

_READ_BYTES = 256 * 1024
_IEOF = b"0; ieof\r\n\r\n"


class ExchangeError(IcapdError):
    """The connection could not be made, broke, or fell silent."""


class Request(NamedTuple):
    """What is asked. `head` ends with the encapsulated heads; `body` is None for none."""

    head: bytes
    body: BinaryIO | None = None
    preview_bytes: int | None = None


class Answer(NamedTuple):
    """The reply, the sizes of the bodies, and the time from connecting to the reply's end."""

    head: ReplyHead
    sent_bytes: int
    received_bytes: int
    elapsed_s: float


class Exchange:
    """State: `_outgoing`, what is still to be written of what was read last; `_more` gives what is written next,
    None when all is out; `_is_waiting` for the reply to a preview that was not the whole body."""

    def __init__(self, endpoint: Endpoint, silence_s: float, on_body: Callable[[ReplyHead, bytes], None]) -> None:
        self._endpoint = endpoint
        self._silence_s = silence_s
        self._on_body = on_body
        self._reader = ReplyReader()
        self._outgoing = memoryview(b"")
        self._more: Iterator[bytes] | None = None
        self._is_waiting = False
        self._sent_bytes = 0
        self._received_bytes = 0

    def run(self, request: Request) -> Answer:
        """Raises: ExchangeError; PeerProtocolError when the server breaks the protocol; OSError from the body."""
        started = time.monotonic()
        self._outgoing = memoryview(request.head)
        self._more = None if request.body is None else self._pieces(request.body, request.preview_bytes)
        with self._connect() as connection, selectors.DefaultSelector() as selector:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            while not self._reader.is_finished:
                self._fill()
                writes = selectors.EVENT_WRITE if self._outgoing else 0
                selector.modify(connection, selectors.EVENT_READ | writes)
                ready = selector.select(self._silence_s)
                if not ready:
                    raise ExchangeError(f"{self._endpoint} was silent for {self._silence_s:g} s")
                for _, events in ready:
                    if events & selectors.EVENT_WRITE:
                        self._write(connection)
                    if events & selectors.EVENT_READ:
                        self._read(connection)
        head = self._reader.head
        if head is None:
            raise PeerProtocolError("no reply")
        return Answer(head, self._sent_bytes, self._received_bytes, time.monotonic() - started)

    def _connect(self) -> socket.socket:
        endpoint = self._endpoint
        try:
            if not endpoint.is_unix:
                connection = socket.create_connection((endpoint.host, endpoint.port), self._silence_s)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(self._silence_s)
                connection.connect(endpoint.path)
            except OSError:
                connection.close()
                raise
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise ExchangeError(
                f"nothing listens on {endpoint}: is icapd running? start it with: make serve, or: icapd serve"
            ) from error
        except TimeoutError as error:
            raise ExchangeError(f"{endpoint} did not answer within {self._silence_s:g} s") from error
        except OSError as error:
            raise ExchangeError(f"cannot connect to {endpoint}: {error.strerror or error}") from error
        return connection

    # What is written

    def _pieces(self, body: BinaryIO, preview_bytes: int | None) -> Iterator[bytes]:
        """The body as it is framed (RFC 3507 §4.4, §4.5), read as it is sent."""
        rest = b""
        if preview_bytes is not None:
            start = _read_fully(body, preview_bytes + 1)
            preview, rest = start[:preview_bytes], start[preview_bytes:]
            self._sent_bytes += len(preview)
            self._is_waiting = bool(rest)
            yield b"".join(render_chunk(preview)) + (render_end(b"") if rest else _IEOF)
            if not rest:
                return
        while data := rest + body.read(_READ_BYTES):
            rest = b""
            self._sent_bytes += len(data)
            yield b"".join(render_chunk(data))
        yield render_end(b"")

    def _fill(self) -> None:
        """Gets the next piece, when the last is out and the server wants more."""
        if self._reader.take_continue():
            if not self._is_waiting:
                raise PeerProtocolError("100 Continue that nobody waits for")
            self._is_waiting = False
        if self._outgoing or self._is_waiting or self._more is None:
            return
        self._outgoing = memoryview(next(self._more, b""))
        if not self._outgoing:
            self._more = None

    def _write(self, connection: socket.socket) -> None:
        try:
            self._outgoing = self._outgoing[connection.send(self._outgoing) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            # The server reads no further; its reply may be here already.
            self._outgoing, self._more = memoryview(b""), None

    # What is read

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ExchangeError(f"{self._endpoint} broke the connection: {error.strerror}") from error
        if not data:
            raise ExchangeError(self._closed_early())
        body = self._reader.receive(data)
        head = self._reader.head
        if body and head is not None:
            self._received_bytes += len(body)
            self._on_body(head, body)

    def _closed_early(self) -> str:
        head = self._reader.head
        if head is None:
            return f"{self._endpoint} closed the connection without a reply; is this client in server.allow_clients?"
        return f"{self._endpoint} closed the connection in the middle of its reply ({head.status} {head.reason})"


def _read_fully(body: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes; fewer only at the end: a pipe gives less than it is asked for."""
    pieces = []
    while count and (piece := body.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
