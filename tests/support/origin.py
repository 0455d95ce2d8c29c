"""An HTTP/1.1 origin on loopback: serves what a test registers, and remembers what was sent to it."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

from tests.support.ports import LOOPBACK

Framing = Literal["length", "chunked", "close"]

_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")
CHUNK_BYTES = 32 * 1024
PAUSE_MAX_S = 30.0


@dataclass(frozen=True)
class Page:
    """One resource: its bytes and how they are framed."""

    body: bytes = b""
    status: int = 200
    media_type: str = "application/octet-stream"
    coding: str = ""
    framing: Framing = "length"
    etag: str = ""
    """A request whose If-None-Match is this gets 304."""
    has_ranges: bool = False
    """A request whose Range is `bytes=FIRST-LAST` gets 206 with this part."""
    pause_at: int = 0
    """With `resume`: so many bytes go out, the rest when the event is set."""
    resume: threading.Event | None = None


@dataclass(frozen=True)
class Upload:
    """A request body that reached the origin."""

    method: str
    path: str
    size_bytes: int
    sha256: str


@dataclass
class Record:
    """What the origin holds and has seen. Shared by its connection threads."""

    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, record: Record) -> None:
        self.record = record
        self.connections: set[socket.socket] = set()
        super().__init__((LOOPBACK, 0), _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """A proxy that hangs up in the middle of a body is the test's subject, not an error of the origin."""


class _Exchange(BaseHTTPRequestHandler):
    """One client connection, in the terms http.server dictates."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.record.lock:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.record.lock:
            self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Requests are remembered, not printed."""

    def do_GET(self) -> None:
        self._remember()
        page = self.server.record.pages.get(self.path)
        if page is None:
            self._reply(Page(b"nothing here\n", status=404, media_type="text/plain"))
        elif page.etag and self.headers.get("If-None-Match") == page.etag:
            self._reply(Page(status=304, etag=page.etag))
        elif page.has_ranges and (asked := _RANGE.fullmatch(self.headers.get("Range", ""))):
            first, last = int(asked[1]), int(asked[2])
            part = replace(page, body=page.body[first : last + 1], status=206)
            self._reply(part, f"bytes {first}-{last}/{len(page.body)}")
        else:
            self._reply(page)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._remember()
        digest, size_bytes = hashlib.sha256(), 0
        for piece in self._body():
            digest.update(piece)
            size_bytes += len(piece)
        upload = Upload(self.command, self.path, size_bytes, digest.hexdigest())
        with self.server.record.lock:
            self.server.record.uploads.append(upload)
        self._reply(Page(b"stored\n", status=201, media_type="text/plain"))

    do_PUT = do_POST

    def _remember(self) -> None:
        with self.server.record.lock:
            self.server.record.requests.append(f"{self.command} {self.path}")

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            left = int(self.headers.get("Content-Length", "0"))
            while left and (piece := self.rfile.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _reply(self, page: Page, content_range: str = "") -> None:
        self.send_response(page.status)
        if content_range:
            self.send_header("Content-Range", content_range)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.status != 304:
            self._send_body_headers(page)
        self.end_headers()
        if self.command == "HEAD" or page.status == 304:
            return
        for piece in _pieces(page):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if page.framing == "chunked" else piece)
        if page.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _send_body_headers(self, page: Page) -> None:
        self.send_header("Content-Type", page.media_type)
        if page.coding:
            self.send_header("Content-Encoding", page.coding)
        match page.framing:
            case "length":
                self.send_header("Content-Length", str(len(page.body)))
            case "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            case "close":
                self.send_header("Connection", "close")
                self.close_connection = True


def _pieces(page: Page) -> Iterator[bytes]:
    """The body in pieces, with the page's pause between two of them."""
    body, start = page.body, 0
    if page.resume is not None:
        yield body[: page.pause_at]
        page.resume.wait(PAUSE_MAX_S)
        start = page.pause_at
    for at in range(start, len(body), CHUNK_BYTES):
        yield body[at : at + CHUNK_BYTES]


class Origin:
    """A running origin; a context manager that ends it."""

    def __init__(self) -> None:
        self._record = Record()
        self._server = _Server(self._record)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="origin", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def serve(self, path: str, page: Page) -> str:
        """Register the page. Returns its URL."""
        self._record.pages[path] = page
        return self.url(path)

    def forget(self, path: str) -> None:
        """Serves it no more, and frees its body."""
        self._record.pages.pop(path, None)

    def url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.port}{path}"

    def requests(self, path: str) -> list[str]:
        """The requests for one path, as `GET /path`, in order of arrival."""
        with self._record.lock:
            return [request for request in self._record.requests if request.endswith(f" {path}")]

    def uploads(self, path: str) -> list[Upload]:
        """The bodies received for one path, in order of arrival."""
        with self._record.lock:
            return [upload for upload in self._record.uploads if upload.path == path]

    def hang_up(self) -> None:
        """End every connection, also in the middle of a body."""
        with self._record.lock:
            for connection in self._server.connections:
                connection.shutdown(socket.SHUT_RDWR)
            self._server.connections.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
