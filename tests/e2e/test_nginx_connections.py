"""nginx's connections to ICAP servers: kept, closed, over TLS, many at once; and how long OPTIONS is believed."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.nginx_traffic import StartNginx, allow, clean_bytes, download, echo, stub, upload
from tests.support.fetch import fetch
from tests.support.icap_stub import OPTIONS, UNCHANGED, IcapStub, Request, answer_with
from tests.support.origin import Origin, Page
from tests.support.ports import LOOPBACK
from tests.support.process import wait_until
from tests.support.tls import self_signed

SMALL = 2_000


def test_connections_are_kept_and_options_asked_once(start: StartNginx, origin: Origin) -> None:
    origin.serve("/down/kept", Page(clean_bytes(SMALL)))
    with stub(allow) as server:
        nginx = start(server.url())
        statuses = {fetch(nginx.port, nginx.url("/down/kept")).status for _ in range(250)}
        statuses |= {upload(nginx, SMALL).status for _ in range(250)}

    assert statuses == {200, 201}
    assert (len(server.requests), server.connections, server.option_requests) == (500, 1, 1)


def test_connection_close_is_honoured(start: StartNginx, origin: Origin) -> None:
    def last_words(request: Request) -> None:
        request.body()
        request.send(UNCHANGED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    with stub(last_words, OPTIONS + b"Connection: Close\r\n") as server:
        nginx = start(server.url())
        answers = [download(nginx, origin, SMALL)[0].status for _ in range(3)]

    assert answers == [200, 200, 200]
    assert (len(server.requests), server.option_requests, server.connections) == (3, 1, 4)


def test_bytes_after_an_answer_end_the_connection(start: StartNginx, origin: Origin) -> None:
    """What follows an answer unasked would be read as the answer to the next request."""

    def say_too_much(request: Request) -> None:
        request.body()
        request.send(UNCHANGED + UNCHANGED)

    with stub(say_too_much) as server:
        nginx = start(server.url())
        answers = [download(nginx, origin, SMALL)[0].status for _ in range(3)]

    assert answers == [200, 200, 200]
    assert server.connections == 3


def test_another_istag_means_that_options_are_asked_again(start: StartNginx, origin: Origin) -> None:
    def change_tag(request: Request) -> None:
        request.body()
        request.send(UNCHANGED.replace(b'"one"', b'"two"'))

    with stub(change_tag) as changing, stub(allow) as steady:
        for server, asked in ((changing, 3), (steady, 1)):
            nginx = start(server.url())
            for _ in range(3):
                assert download(nginx, origin, SMALL)[0].status == 200
            assert server.option_requests == asked


def test_options_are_asked_again_when_their_time_is_over(start: StartNginx, origin: Origin) -> None:
    with stub(allow, OPTIONS.replace(b"600", b"1")) as server:
        nginx = start(server.url())

        def asked_twice() -> bool:
            assert download(nginx, origin, SMALL)[0].status == 200
            return server.option_requests == 2

        wait_until(asked_twice, "OPTIONS is asked again")
    assert len(server.requests) > 2


def test_options_with_a_body_can_be_read_over(start: StartNginx, origin: Origin) -> None:
    options = OPTIONS.replace(b"null-body", b"opt-body") + b"\r\n3;x\r\nabc\r\n0\r\n"
    with stub(allow, options) as server:
        nginx = start(server.url())
        assert [download(nginx, origin, SMALL)[0].status for _ in range(2)] == [200, 200]
    assert (server.connections, server.option_requests) == (1, 1)


def test_kept_connection_that_the_server_has_closed_costs_nothing(start: StartNginx, origin: Origin) -> None:
    """The server hangs up on the second request of each connection, as one does that restarts."""
    seen: set[object] = set()

    def serve_once(request: Request) -> None:
        if request.peer in seen:
            request.close()
            return
        seen.add(request.peer)
        allow(request)

    with stub(serve_once) as server:
        nginx = start(server.url())
        answers = [download(nginx, origin, SMALL)[0].status for _ in range(4)]

    assert answers == [200] * 4
    assert [line.verdict for line in nginx.lines("/down/file", 4)] == ["allowed"] * 4


@pytest.mark.parametrize(("trusts", "verify", "status"), [(True, "on", 200), (False, "on", 503), (False, "off", 200)])
def test_icaps(start: StartNginx, origin: Origin, tmp_path: Path, trusts: bool, verify: str, status: int) -> None:
    context, certificate = self_signed(tmp_path)
    extra = f"set $icap_tls_verify {verify};"
    if trusts:
        extra += f"lua_ssl_trusted_certificate {certificate};"
    with IcapStub(allow, tls=context) as server:
        nginx = start(server.url(), server=extra)
        answers = [download(nginx, origin, SMALL)[0].status for _ in range(2)]

    assert answers == [status, status]
    assert server.connections == (1 if status == 200 else 2)


def test_many_at_once_do_not_mix(start: StartNginx, origin: Origin) -> None:
    sizes = [1 + 7_919 * number for number in range(64)]
    for size in sizes:
        origin.serve(f"/down/many/{size}", Page(clean_bytes(size)))
    with stub(echo) as server, ThreadPoolExecutor(16) as browsers:
        nginx = start(server.url(), timeouts="connect=5 send=20 read=20 total=60")
        answers = list(browsers.map(lambda size: fetch(nginx.port, nginx.url(f"/down/many/{size}")), sizes))

    assert [answer.body == clean_bytes(size) for answer, size in zip(answers, sizes, strict=True)] == [True] * 64


def test_client_that_goes_away_frees_everything(start: StartNginx, origin: Origin) -> None:
    """It reads the head and a little, and hangs up while the body comes back."""
    done = threading.Event()

    def endless(request: Request) -> None:
        request.body()
        request.send(answer_with(request.heads[1], b"").removesuffix(b"0\r\n\r\n"))
        try:
            while True:
                request.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            done.set()
            raise

    with stub(endless) as server:
        nginx = start(server.url())
        origin.serve("/down/left", Page(b"some", framing="chunked"))
        leave(nginx.port, "/down/left")
        assert done.wait(20)


def leave(port: int, path: str) -> None:
    with socket.create_connection((LOOPBACK, port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
