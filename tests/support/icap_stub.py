"""An ICAP server that does what a test tells it: late, early, odd or wrong. For tests of ICAP clients."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK

OPTIONS = (
    b'ISTag: "one"\r\nMethods: REQMOD, RESPMOD\r\nAllow: 204\r\nOptions-TTL: 600\r\nEncapsulated: null-body=0\r\n'
)
UNCHANGED = b'ICAP/1.0 204 No Content\r\nISTag: "one"\r\n\r\n'
CONTINUE = b"ICAP/1.0 100 Continue\r\n\r\n"
END_MAX_S = 30.0


class _Lines:
    """Lines without their CRLF, and between them bytes by count."""

    def __init__(self, connection: socket.socket) -> None:
        self.file = connection.makefile("rb")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise ConnectionError
        return data


class Request:
    """One REQMOD or RESPMOD as it came, its body still to be read."""

    def __init__(
        self, connection: socket.socket, lines: _Lines, head: bytes, heads: list[bytes], end: threading.Event
    ) -> None:
        self._connection = connection
        self.head = head
        """The ICAP head."""
        self.heads = heads
        """The encapsulated heads, in their order."""
        self._lines = lines
        self._end = end
        self.has_ended = False
        """The body's end, or `ieof`, was read."""

    def chunks(self) -> Iterator[bytes]:
        """The chunks up to the next zero chunk: the preview's, or the body's."""
        while True:
            size, _, extension = next(self._lines).partition(b";")
            length = int(size, 16)
            if length == 0:
                self.has_ended = extension.strip() == b"ieof" or not self.header("preview")
                assert next(self._lines) == b""
                return
            yield self._lines.exactly(length)
            assert next(self._lines) == b""

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def header(self, name: str) -> str:
        match = re.search(rf"^{name}: *(.*?)\r$", self.head.decode("latin-1"), re.MULTILINE | re.IGNORECASE)
        return match[1] if match else ""

    @property
    def peer(self) -> object:
        """The client's address: one for each connection."""
        return self._connection.getpeername()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def close(self) -> None:
        """Close the connection, whatever is still unread."""
        self._lines.file.close()
        self._connection.close()

    def hang(self) -> None:
        """Neither read nor send until the stub ends."""
        self._end.wait(END_MAX_S)
        self.close()


Exchange = Callable[[Request], None]


def answer_with(heads: bytes, body: bytes | None, *, fields: bytes = b"", kind: str = "res") -> bytes:
    """An ICAP 200 that carries the HTTP head and the body; None: null-body."""
    item = f"{kind}-body" if body is not None else "null-body"
    head = f'ICAP/1.0 200 OK\r\nISTag: "one"\r\nEncapsulated: {kind}-hdr=0, {item}={len(heads)}\r\n'.encode()
    framed = b"" if body is None else (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return head + fields + b"\r\n" + heads + framed


class IcapStub:
    """A running stub; a context manager that ends it. Answers OPTIONS itself, the rest by `exchange`."""

    def __init__(self, exchange: Exchange, options: bytes = OPTIONS, tls: ssl.SSLContext | None = None) -> None:
        self._exchange = exchange
        self._tls = tls
        self.options = options
        self.option_requests = 0
        self.requests: list[Request] = []
        self.connections = 0
        self._end = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="icap-stub", daemon=True)
        self._thread.start()

    def url(self, path: str = "/stub") -> str:
        return f"icap{'s' if self._tls else ''}://{LOOPBACK}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(connection, server_side=True)
            lines = _Lines(stream)
            with stream, lines.file:
                while self._one(stream, lines):
                    pass
        except (ConnectionError, ssl.SSLError):
            pass  # the client hung up: the tests look at what the client did then
        finally:
            with self._lock:
                self._open.discard(connection)

    def _one(self, connection: socket.socket, lines: _Lines) -> bool:
        """One request. Returns whether another may follow."""
        head = b""
        while line := next(lines):
            head += line + b"\r\n"
        if head.startswith(b"OPTIONS"):
            self.option_requests += 1
            connection.sendall(b"ICAP/1.0 200 OK\r\n" + self.options + b"\r\n")
            return True
        match = re.search(rb"^Encapsulated: (.*?)\r$", head, re.MULTILINE)
        assert match is not None
        offsets = [int(item.rpartition(b"=")[2]) for item in match[1].split(b",")]
        heads = [lines.exactly(after - at) for at, after in itertools.pairwise(offsets)]
        request = Request(connection, lines, head, heads, self._end)
        with self._lock:
            self.requests.append(request)
        self._exchange(request)
        return connection.fileno() >= 0

    def close(self) -> None:
        self._end.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # its own thread may be closing it just now
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
