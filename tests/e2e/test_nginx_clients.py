"""nginx's clients that are slow, old, new or odd, and what is logged of them."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.nginx_traffic import StartNginx, allow, clean_bytes, curl, download, echo, stub, upload
from tests.support.fetch import fetch
from tests.support.icap_stub import UNCHANGED, Request
from tests.support.nginx import Nginx
from tests.support.origin import Origin, Page
from tests.support.ports import LOOPBACK, free_port

SMALL, LARGE = 2_000, 12_000_000


def answer_to(nginx: Nginx, request: bytes) -> bytes:
    """All that comes back for these bytes until nginx closes."""
    with socket.create_connection((LOOPBACK, nginx.port), timeout=30) as client:
        client.sendall(request)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return received


def test_client_that_pauses_is_not_the_icap_servers_fault(start: StartNginx, origin: Origin) -> None:
    """It takes nothing for longer than `read`: the server would have sent, had we read."""
    origin.serve("/down/paused", Page(clean_bytes(LARGE)))
    with stub(echo) as server, socket.socket() as client:
        nginx = start(server.url(), timeouts="connect=5 send=30 read=0.5 total=60")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((LOOPBACK, nginx.port))
        client.sendall(b"GET /down/paused HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = client.recv(1024)
        time.sleep(1.0)  # nothing can be waited for: nothing happens
        while piece := client.recv(1 << 20):
            received += piece

    assert received.endswith(clean_bytes(LARGE))
    assert [line.verdict for line in nginx.lines("/down/paused")] == ["allowed"]


def test_host_and_length_cannot_be_named_as_hop_by_hop(start: StartNginx, origin: Origin) -> None:
    with stub(allow) as server:
        nginx = start(server.url())
        names = b"Connection: close, Host, Content-Length\r\n"
        stored = answer_to(
            nginx, b"POST /up/named HTTP/1.1\r\nHost: site.test\r\n" + names + b"Content-Length: 1\r\n\r\nx"
        )
        origin.serve("/down/named", Page(b"content"))
        fetched = answer_to(
            nginx, b"GET /down/named HTTP/1.1\r\nHost: site.test\r\nAccept: a.test\r\n" + names + b"\r\n"
        )

    assert stored.startswith(b"HTTP/1.1 201 ")
    assert fetched.endswith(b"content")
    up, down = (request.heads[0].decode() for request in server.requests)
    assert up.startswith("POST http://site.test/up/named HTTP/1.1\r\nHost: site.test\r\n")
    assert down.startswith("GET http://site.test/down/named HTTP/1.1\r\nHost: site.test\r\n")


@pytest.mark.parametrize(
    ("target", "url"),
    [("http://site.test/down/a?b", "http://site.test/down/a?b"), ("http://site.test?b", "http://site.test/?b")],
)
def test_absolute_targets(start: StartNginx, target: str, url: str) -> None:
    with stub(allow) as server:
        nginx = start(server.url(), server="rewrite ^/$ /down/root last;")
        answer = answer_to(nginx, f"GET {target} HTTP/1.0\r\nHost: site.test\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert server.requests[0].heads[0].startswith(f"GET {url} HTTP/1.1\r\n".encode())


def test_error_page_does_not_forget_the_verdict(start: StartNginx, origin: Origin) -> None:
    """nginx does the `set`s of a server again when error_page leads elsewhere."""
    sorry = "error_page 503 /sorry; location = /sorry { return 503 sorry; }"
    nginx = start(f"icap://{LOOPBACK}:{free_port()}/x", server=sorry)

    refused, _ = download(nginx, origin, SMALL)
    refused_upload = upload(nginx, SMALL)

    assert (refused.status, refused.body) == (refused_upload.status, refused_upload.body) == (503, b"sorry")
    assert [line.verdict for line in nginx.lines("/sorry", 2)] == ["failed", "failed"]


def test_names_of_response_fields_stay_as_they_are(start: StartNginx) -> None:
    def name(request: Request) -> None:
        request.body()
        head = b"HTTP/1.1 200 OK\r\nX_Under_Score: 1\r\nX-Odd!Name: 2\r\nContent-Length: 0\r\n\r\n"
        request.send(b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=%d\r\n\r\n%b" % (len(head), head))

    with stub(name) as server:
        answer = fetch((nginx := start(server.url())).port, nginx.url("/down/names"))

    assert (answer.status, answer.headers["x_under_score"], answer.headers["x-odd!name"]) == (200, "1", "2")


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
def test_http_2_upload_without_a_length_is_scanned_whole(
    start: StartNginx, origin: Origin, tmp_path: Path, size_bytes: int
) -> None:
    """Version 0.10.26 of ngx_lua alone refuses to read it: there it is 411."""
    received: list[bytes] = []

    def take(request: Request) -> None:
        received.append(request.body())
        request.send(UNCHANGED)

    body, paths = clean_bytes(size_bytes), [f"/up/two/{size_bytes}", f"/both/two/{size_bytes}"]
    (tmp_path / "body").write_bytes(body)
    unknown = ["--http2-prior-knowledge", "--header", "Content-Length:", "--upload-file", str(tmp_path / "body")]
    shown = 'set $sent "<$http_content_length>"; add_header X-Length $sent always;'
    with stub(take) as server:
        nginx = start(server.url(), server=shown)
        urls = [f"http://{LOOPBACK}:{nginx.http2_port}{path}" for path in paths]
        statuses = [curl(tmp_path, "--dump-header", str(tmp_path / "head"), *unknown, url)[0] for url in urls]

    assert "x-length: <>" in (tmp_path / "head").read_text()
    assert statuses == ["201 2", "201 2"]
    assert received[:2] == [body, body]
    digest = hashlib.sha256(body).hexdigest()
    assert [each.sha256 for path in paths for each in origin.uploads(path)] == [digest, digest]
