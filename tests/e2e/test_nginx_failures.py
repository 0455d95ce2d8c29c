"""nginx when ICAP servers are down, slow, hanging or wrong: what each fail mode promises, and fail-over."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.nginx_traffic import StartNginx, allow, clean_bytes, download, stub, upload
from tests.support.fetch import fetch
from tests.support.icap_stub import CONTINUE, OPTIONS, UNCHANGED, Exchange, Request, answer_with
from tests.support.origin import Origin, Page
from tests.support.ports import LOOPBACK, free_port
from tests.support.process import wait_until

IMPATIENT = "connect=0.5 send=1 read=0.5 total=3"
"""For servers that fail in any case: nothing that is to succeed depends on it."""
NARROW = "connect=5 send=20 read=1 total=60"
SMALL, LARGE = 2_000, 3_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"


def hang(request: Request) -> None:
    request.hang()


def read_then_hang(request: Request) -> None:
    request.body()
    request.hang()


def close(request: Request) -> None:
    request.close()


def refuse(request: Request) -> None:
    request.body()
    request.send(b"ICAP/1.0 500 Server error\r\nEncapsulated: null-body=0\r\n\r\n")


def head_without_end(request: Request) -> None:
    request.body()
    request.send(b"ICAP/1.0 200 OK\r\n" + b"X-Filler: " + b"x" * 70_000)


WRONG: dict[str, Exchange] = {
    "hangs": hang,
    "reads all and hangs": read_then_hang,
    "closes": close,
    "answers 500": refuse,
    "sends a head without end": head_without_end,
}


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
@pytest.mark.parametrize("wrong", WRONG)
def test_closed_refuses_and_open_lets_through_whatever_the_server_does(
    start: StartNginx, origin: Origin, wrong: str, size_bytes: int
) -> None:
    path = f"/up/{wrong.replace(' ', '-')}/{size_bytes}"
    with stub(WRONG[wrong]) as server:
        closed = start(server.url(), timeouts=IMPATIENT)
        opened = start(server.url(), timeouts=IMPATIENT, fail="open")

        refused, _ = download(closed, origin, size_bytes)
        passed, body = download(opened, origin, size_bytes)
        refused_upload = upload(closed, size_bytes, path)
        arrived_meanwhile = origin.uploads(path)
        passed_upload = upload(opened, size_bytes, path)

    assert refused.status == refused_upload.status == 503
    assert body[:100] not in refused.body
    assert arrived_meanwhile == []
    assert (passed.status, passed.is_whole, passed.body == body) == (200, True, True)
    assert passed_upload.status == 201
    assert [each.size_bytes for each in origin.uploads(path)] == [size_bytes]
    assert [line.verdict for nginx in (closed, opened) for line in nginx.lines("/down/file")] == [
        "failed",
        "bypassed",
    ]
    assert [line.verdict for nginx in (closed, opened) for line in nginx.lines(path)] == ["failed", "bypassed"]


def test_satisfy_any_does_not_spare_uploads_the_scan(start: StartNginx, origin: Origin) -> None:
    """nginx would ask no further access phase once `allow` was enough."""
    nginx = start(f"icap://{LOOPBACK}:{free_port()}/down", server="satisfy any; allow all;")

    assert upload(nginx, SMALL, "/up/satisfied").status == 503
    assert origin.uploads("/up/satisfied") == []


def test_nobody_listens(start: StartNginx, origin: Origin) -> None:
    url = f"icap://{LOOPBACK}:{free_port()}/down"
    closed, opened = start(url), start(url, fail="open")

    assert download(closed, origin, SMALL)[0].status == 503
    assert upload(closed, SMALL).status == 503
    passed, body = download(opened, origin, LARGE)
    assert (passed.status, passed.body == body) == (200, True)
    assert upload(opened, LARGE).status == 201


def test_server_that_never_answers_options_is_given_up_in_time(start: StartNginx, origin: Origin) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:  # the kernel completes connections, and nobody reads
        nginx = start(f"icap://{LOOPBACK}:{listener.getsockname()[1]}/x", timeouts=IMPATIENT)
        began = time.monotonic()

        answer, _ = download(nginx, origin, SMALL)

    assert answer.status == 503
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS.replace(b"REQMOD, RESPMOD", b"FILEMOD"),
        b"Encapsulated: opt-body=0\r\n\r\nffffffffffffffff\r\n",
        b"no header line\r\n",
    ],
    ids=["other methods", "endless body", "malformed"],
)
def test_options_that_cannot_be_used_are_a_failure(start: StartNginx, origin: Origin, options: bytes) -> None:
    with stub(allow, options) as server:
        assert download(start(server.url()), origin, SMALL)[0].status == 503
    assert server.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"ICAP/1.0 204\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICAP/1.0 100 Continue\r\n\r\n",
        b"ICAP/1.0 206 Partial\r\nEncapsulated: res-hdr=0, null-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nX: a\nEncapsulated: res-hdr=0, null-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nX\0: a\r\nEncapsulated: res-hdr=0, null-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nX : a\r\nEncapsulated: res-hdr=0, null-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=18\r\n\r\nHTTP/1.1 2000K\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=21\r\n\r\nHTTP/1.1 101 Over\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, null-body=18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=17\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=65537\r\n\r\n" + b"x" * 65537,
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=-1\r\n\r\n",
    ],
)
def test_answer_that_is_not_one_is_a_failure(start: StartNginx, origin: Origin, answer: bytes) -> None:
    """The body is too large for a 204 to be legal; the others break RFC 3507 in their own ways."""

    def say(request: Request) -> None:
        request.body()
        request.send(answer)

    with stub(say) as server:
        assert download(start(server.url()), origin, LARGE)[0].status == 503


@pytest.mark.parametrize(
    "rest",
    [
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"1000000000000\r\nhello",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5" + b" " * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"X-Trailer: 1\r\n" * 2000 + b"\r\n",
        b"5\r\nhel",
    ],
    ids=["sign", "prefix", "too large", "longer than said", "long line", "endless trailers", "cut off"],
)
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_body_that_breaks_in_the_middle_never_looks_whole(
    start: StartNginx, origin: Origin, rest: bytes, fail: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def say(request: Request) -> None:
        request.body()
        answer = answer_with(head, b"x" * 100_000)
        request.send(answer.removesuffix(b"0\r\n\r\n") + rest)
        request.close()

    with stub(say) as server:
        nginx = start(server.url(), fail=fail)
        answer, _ = download(nginx, origin, SMALL)
        refusal = upload(nginx, SMALL)

    assert not answer.is_whole
    assert not refusal.is_whole
    assert [line.verdict for path in ("/down/file", "/up/file") for line in nginx.lines(path)] == ["cut", "cut"]


LAST = b"0\r\n\r\n"


def plain_answer(head: bytes, body: bytes) -> bytes:
    return answer_with(head, b"").removesuffix(LAST) + body


def padded(start: bytes, length: int, end: bytes) -> bytes:
    return start + b"x" * (length - len(start)) + end


HEAD_MAX, LINE_MAX, TRAILERS_MAX = 65_536, 4_096, 16_384


@pytest.mark.parametrize("past", [0, 1])
@pytest.mark.parametrize(
    "part",
    [
        lambda past: padded(b"ICAP/1.0 204 No\r\nX: ", HEAD_MAX + past, b"\r\n\r\n"),
        lambda past: plain_answer(padded(b"HTTP/1.1 200 OK\r\nX: ", HEAD_MAX - 4 + past, b"\r\n\r\n"), LAST),
        lambda past: plain_answer(HEAD, padded(b"5;", LINE_MAX + past, b"\r\nhello\r\n") + LAST),
        lambda past: plain_answer(HEAD, b"0\r\n" + padded(b"X:", TRAILERS_MAX - 2 + past, b"\r\n\r\n")),
        lambda past: plain_answer(HEAD, b"0" * 100 + b"5\r\nhello\r\n0\r\n\r\n" + b"\0" * past),
    ],
    ids=["ICAP head", "HTTP head", "chunk line", "trailers", "nothing more"],
)
def test_limits_of_what_a_server_may_send(
    start: StartNginx, origin: Origin, part: Callable[[int], bytes], past: int, request: pytest.FixtureRequest
) -> None:
    """At the limit it is taken, one byte past it is a failure; what follows an answer only ends the connection."""

    def say(asked: Request) -> None:
        asked.body()
        asked.send(part(past))

    with stub(say) as server:
        nginx = start(server.url())
        answer, _ = download(nginx, origin, SMALL)

    [line] = nginx.lines("/down/file")
    found = (line.verdict, answer.status)
    if past and "nothing more" not in request.node.name:
        assert found in {("failed", 503), ("cut", 502)}  # before the answer's head was whole, or after it
    else:
        assert found == ("allowed", 200)


def test_slow_server_is_waited_for(start: StartNginx, origin: Origin) -> None:
    """Slower than `read` in all, but a byte comes in time each time."""

    def slow(request: Request) -> None:
        request.body()
        for byte in UNCHANGED[:6]:
            request.send(bytes([byte]))
            time.sleep(0.25)
        request.send(UNCHANGED[6:])

    with stub(slow) as server:
        answer, body = download(start(server.url(), timeouts=NARROW), origin, SMALL)

    assert (answer.status, answer.body) == (200, body)


def test_slow_upstream_is_not_the_icap_servers_fault(start: StartNginx, origin: Origin) -> None:
    """The origin pauses for longer than `read` in mid-body."""
    body, resume = clean_bytes(LARGE, "slow"), threading.Event()
    origin.serve("/down/slow", Page(body, pause_at=200_000, resume=resume))

    def echo(request: Request) -> None:
        body = request.body()
        request.send(answer_with(request.heads[1], body))

    with stub(echo) as server:
        nginx = start(server.url(), timeouts=NARROW)
        timer = threading.Timer(1.5, resume.set)
        timer.start()
        answer = fetch(nginx.port, nginx.url("/down/slow"))
        timer.join()

    assert (answer.status, answer.body == body) == (200, True)


def test_upstream_that_breaks_is_no_clean_download(start: StartNginx) -> None:
    """It hangs up in mid-body, and the ICAP server would let everything through."""
    with stub(allow) as server, Origin() as breaking:
        breaking.serve("/down/cut", Page(clean_bytes(LARGE), pause_at=200_000, resume=threading.Event()))
        nginx = start(server.url(), fail="open", origin_port=breaking.port)
        with ThreadPoolExecutor(1) as browser:
            answer = browser.submit(fetch, nginx.port, nginx.url("/down/cut"))
            wait_until(lambda: server.requests, "the response is on its way to the ICAP server")
            breaking.hang_up()

    assert answer.result().status == 502
    assert [line.verdict for line in nginx.lines("/down/cut")] == ["failed"]


def test_second_server_takes_over(start: StartNginx, origin: Origin) -> None:
    dead = f"icap://{LOOPBACK}:{free_port()}/x"
    with stub(allow) as server:
        nginx = start(f"{dead} {server.url()}")

        answer, body = download(nginx, origin, SMALL)
        uploaded = upload(nginx, LARGE)

    assert (answer.status, answer.body) == (200, body)
    assert uploaded.status == 201
    assert [line.verdict for line in nginx.lines("/down/file")] == ["allowed"]


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
def test_second_server_gets_the_whole_body_when_the_first_fails_in_the_middle(
    start: StartNginx, origin: Origin, size_bytes: int
) -> None:
    """A large response is fetched once more; an upload and a small response are still there."""
    received: list[bytes] = []

    def fail_later(request: Request) -> None:
        next(request.chunks())
        request.close()

    def echo(request: Request) -> None:
        received.append(request.body())
        kind, head = ("res", request.heads[1]) if len(request.heads) == 2 else ("req", request.heads[0])
        request.send(answer_with(head, received[-1], kind=kind))

    with stub(fail_later) as first, stub(echo) as second:
        nginx = start(f"{first.url()} {second.url()}")
        answer, body = download(nginx, origin, size_bytes)
        uploaded = upload(nginx, size_bytes)

    assert (answer.status, answer.body == body) == (200, True)
    assert received == [body, clean_bytes(size_bytes, "/up/file")]
    assert uploaded.status == 201
    assert len(origin.requests("/down/file")) >= 1


@pytest.mark.parametrize(("response_bytes", "status"), [(SMALL, 200), (LARGE, 503)])
def test_post_is_never_sent_twice(start: StartNginx, response_bytes: int, status: int) -> None:
    """Fail-open passes a response that is still held; one that is gone is refused, and not asked for again."""
    posts: list[str] = []

    class Exchange(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(response_bytes))
            self.end_headers()
            self.wfile.write(bytes(response_bytes))

        def log_message(self, *_: object) -> None:
            pass

    def take_some(request: Request) -> None:
        for _, _ in zip(range(10), request.chunks(), strict=False):
            pass
        request.close()

    with stub(take_some) as server, http.server.HTTPServer((LOOPBACK, 0), Exchange) as origin:
        serving = threading.Thread(target=origin.serve_forever, args=(0.05,))
        serving.start()
        nginx = start(server.url(), fail="open", origin_port=origin.server_address[1])
        answer = fetch(nginx.port, nginx.url("/down/posted"), method="POST", body=b"once")
        origin.shutdown()
        serving.join()

    assert answer.status == status
    assert posts == ["/down/posted"]
    assert [line.verdict for line in nginx.lines("/down/posted")] == ["bypassed" if status == 200 else "failed"]


def test_nonsense_in_the_configuration_refuses_in_either_mode(start: StartNginx, origin: Origin) -> None:
    for urls in ("http://127.0.0.1/x", "icap://127.0.0.1", "icap://127.0.0.1:99999/x", " "):
        nginx = start(urls, fail="open")
        assert download(nginx, origin, SMALL)[0].status == 500
    assert download(start("icap://127.0.0.1/x", fail="perhaps"), origin, SMALL)[0].status == 500
    assert download(start("icap://127.0.0.1/x", timeouts="connect=1"), origin, SMALL)[0].status == 500


def test_continue_is_not_an_answer_without_a_preview(start: StartNginx, origin: Origin) -> None:
    def go_on(request: Request) -> None:
        request.body()
        request.send(CONTINUE)

    with stub(go_on) as server:
        assert upload(start(server.url()), SMALL).status == 503
