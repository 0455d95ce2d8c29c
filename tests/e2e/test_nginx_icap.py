"""nginx's ICAP client on the wire: what RFC 3507 lets a server do, each by a server that does it."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.e2e.nginx_traffic import StartNginx, allow, clean_bytes, download, echo, kind, stub, upload
from tests.support.fetch import fetch
from tests.support.icap_stub import CONTINUE, OPTIONS, UNCHANGED, Request, answer_with
from tests.support.origin import Framing, Origin, Page
from tests.support.ports import LOOPBACK

SMALL, INLINE, HOLD, LARGE = 2_000, 16 * 1024, 64 * 1024, 3_000_000
PREVIEWING = OPTIONS + b"Preview: 1024\r\nTransfer-Preview: *\r\n"
PAGE = answer_with(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n", b"no :(", fields=b"X-Virus-ID: Odd\r\n")


def test_heads_lie_where_encapsulated_says_and_hop_by_hop_fields_do_not_travel(
    start: StartNginx, origin: Origin
) -> None:
    with stub(allow) as server:
        nginx = start(server.url())
        origin.serve("/down/x.txt", Page(clean_bytes(SMALL), framing="chunked"))
        fetch(
            nginx.port, nginx.url("/down/x.txt?q=1"), headers={"Keep-Alive": "1", "Connection": "X-Own", "X-Own": "1"}
        )
        upload(nginx, SMALL)

    down, up = server.requests
    request, response = (head.decode() for head in down.heads)
    assert request.startswith(f"GET http://{LOOPBACK}:{nginx.port}/down/x.txt?q=1 HTTP/1.1\r\nHost: ")
    assert response.startswith("HTTP/1.1 404 Not Found\r\n")  # the origin knows no query
    [request_up] = (head.decode() for head in up.heads)
    assert request_up.startswith(f"POST http://{LOOPBACK}:{nginx.port}/up/file HTTP/1.1\r\nHost: ")
    assert f"\r\nContent-Length: {SMALL}\r\n" in request_up
    for head in (request, response, request_up):
        assert head.endswith("\r\n\r\n")
        assert not re.search(r"^(connection|keep-alive|transfer-encoding|x-own):", head, re.MULTILINE | re.IGNORECASE)
    for each in (down, up):
        assert each.header("X-Client-IP") == LOOPBACK
        assert re.fullmatch("[0-9a-f]{32}", each.header("X-Request-ID"))
        assert each.header("Host") == f"{LOOPBACK}:{server.port}"


def test_user_and_request_id_are_passed(start: StartNginx, origin: Origin) -> None:
    with stub(allow) as server:
        nginx = start(server.url(), server='set $icap_user "$http_x_test_user";')
        upload_as = {"X-Test-User": "alice\u00e9"}
        fetch(nginx.port, nginx.url("/up/user"), method="POST", body=b"x", headers=upload_as)

    assert server.requests[0].header("X-Client-Username") == "alice%E9"


@pytest.mark.parametrize(
    ("size_bytes", "framing", "offered"),
    [(SMALL, "length", "204"), (HOLD, "length", "204"), (HOLD + 1, "length", ""), (SMALL, "chunked", "")],
)
def test_204_is_offered_for_a_response_that_is_held(
    start: StartNginx, origin: Origin, size_bytes: int, framing: Framing, offered: str
) -> None:
    origin.serve("/down/x", Page(clean_bytes(size_bytes), framing=framing))
    with stub(echo) as server:
        nginx = start(server.url())
        answer = fetch(nginx.port, nginx.url("/down/x"))
        upload(nginx, LARGE)

    assert answer.body == clean_bytes(size_bytes)
    assert [request.header("Allow") for request in server.requests] == [offered, "204"]


@pytest.mark.parametrize("size_bytes", [1, 1023, 1024, 1025, INLINE, HOLD + 1, LARGE])
@pytest.mark.parametrize("goes_on", [False, True], ids=["decides by the preview", "wants all"])
def test_preview(start: StartNginx, origin: Origin, size_bytes: int, goes_on: bool) -> None:
    """A 204 to the preview is legal whatever the size; after 100 Continue the rest comes, and the last chunk."""
    received: list[bytes] = []

    def exchange(request: Request) -> None:
        body = request.body()
        assert request.header("Preview") == "1024"
        assert len(body) == min(size_bytes, 1024)
        assert request.has_ended == (size_bytes <= 1024)
        if goes_on and not request.has_ended:
            request.send(CONTINUE)
            body += request.body()
        received.append(body)
        request.send(answer_with(request.heads[-1], body, kind=kind(request)) if goes_on else UNCHANGED)

    with stub(exchange, PREVIEWING) as server:
        nginx = start(server.url())
        answer, body = download(nginx, origin, size_bytes)
        uploaded = upload(nginx, size_bytes)

    sent = [body, clean_bytes(size_bytes, "/up/file")]
    assert received == (sent if goes_on else [each[:1024] for each in sent])
    assert (answer.status, answer.body == body) == (200, True)
    assert uploaded.status == 201
    assert [each.sha256 for each in origin.uploads("/up/file")][-1] == hashlib.sha256(sent[1]).hexdigest()
    assert server.connections == 1


@pytest.mark.parametrize(
    ("fields", "path", "preview"),
    [
        (b"Preview: 10\r\n", "/down/a.txt", ""),
        (b"Preview: 10\r\nTransfer-Preview: txt, EXE\r\nTransfer-Complete: *\r\n", "/down/a.txt", "10"),
        (b"Preview: 10\r\nTransfer-Preview: txt\r\nTransfer-Complete: *\r\n", "/down/a.zip", ""),
        (b"Preview: 10\r\nTransfer-Preview: *\r\nTransfer-Complete: zip\r\n", "/down/a.zip", ""),
        (b"Preview: 10\r\nTransfer-Preview: *\r\nTransfer-Ignore: jpg\r\n", "/down/a.jpg", ""),
        (b"Preview: 99999999\r\nTransfer-Preview: *\r\n", "/down/a.jpg", "32768"),
        (b"Preview: -1\r\nTransfer-Preview: *\r\n", "/down/a.jpg", ""),
    ],
)
def test_preview_goes_by_the_lists_of_options(
    start: StartNginx, origin: Origin, fields: bytes, path: str, preview: str
) -> None:
    """A body that the server would ignore by its extension is sent whole: the name is the client's."""
    with stub(allow, OPTIONS + fields) as server:
        answer, body = download(start(server.url()), origin, SMALL, path)

    assert (answer.status, answer.body) == (200, body)
    assert [request.header("Preview") for request in server.requests] == [preview]


@pytest.mark.parametrize("size_bytes", [32_768, 32_769, HOLD, HOLD + 1, LARGE])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_response_let_through_by_its_preview_is_the_one_that_was_shown(
    start: StartNginx, origin: Origin, size_bytes: int, framing: Framing
) -> None:
    """Never fetched again: the second answer could be another."""
    body = clean_bytes(size_bytes)
    origin.serve(f"/down/once/{framing}/{size_bytes}", Page(body, framing=framing))
    with stub(allow, OPTIONS + b"Preview: 99999999\r\nTransfer-Preview: *\r\n") as server:
        nginx = start(server.url())
        answer = fetch(nginx.port, nginx.url(f"/down/once/{framing}/{size_bytes}"))

    assert (answer.status, answer.body == body) == (200, True)
    assert len(origin.requests(f"/down/once/{framing}/{size_bytes}")) == 1


def test_page_before_the_body_has_ended(start: StartNginx, origin: Origin) -> None:
    """The server has seen enough, says so, and takes no more."""

    def refuse_early(request: Request) -> None:
        next(request.chunks())
        request.send(PAGE)
        request.hang()

    with stub(refuse_early) as server:
        nginx = start(server.url())
        refused, _ = download(nginx, origin, 20_000_000)
        refused_upload = upload(nginx, 20_000_000)

    assert (refused.status, refused.body, refused.is_whole) == (403, b"no :(", True)
    assert "content-type" not in refused.headers  # the server gave none, and default_type is not for its page
    assert (refused_upload.status, refused_upload.body) == (403, b"no :(")
    assert [(line.verdict, line.threat) for line in nginx.lines("/up/file")] == [("blocked", "Odd")]


def test_server_that_sends_back_while_it_reads_and_stops_reading_when_nobody_takes_it(
    start: StartNginx, origin: Origin
) -> None:
    """A client that wrote first and read then would wait for it, and it for the client."""

    def mirror(request: Request) -> None:
        request.send(answer_with(request.heads[-1], b"", kind=kind(request)).removesuffix(b"0\r\n\r\n"))
        for chunk in request.chunks():
            request.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        request.send(b"0\r\n\r\n")

    with stub(mirror) as server:
        nginx = start(server.url())
        answer, body = download(nginx, origin, 40_000_000)
        uploaded = upload(nginx, 40_000_000)

    assert (answer.status, answer.is_whole, answer.body == body) == (200, True, True)
    assert uploaded.status == 201
    assert [each.sha256 for each in origin.uploads("/up/file")][-1] == hashlib.sha256(
        clean_bytes(40_000_000, "/up/file")
    ).hexdigest()
    assert [line.verdict for line in nginx.lines("/up/file")] == ["replaced"]
    assert server.connections == 1


@pytest.mark.parametrize("length", [b"4", b"6", b"200000", b"x", b"5\r\nContent-Length: 6"])
@pytest.mark.parametrize("has_body", [True, False])
def test_body_of_another_length_than_its_head_says_never_looks_whole(
    start: StartNginx, origin: Origin, length: bytes, has_body: bool
) -> None:
    """On a connection that is kept, what is too much would be the next answer, and what is missing waited for."""
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: " + length + b"\r\n\r\n"

    def miscount(request: Request) -> None:
        request.body()
        request.send(answer_with(head, b"no :(" if has_body else None))

    with stub(miscount) as server:
        nginx = start(server.url())
        refused, _ = download(nginx, origin, SMALL)
        refused_upload = upload(nginx, SMALL)

    assert [each.status for each in (refused, refused_upload)] == [502, 502]
    assert [line.verdict for path in ("/down/file", "/up/file") for line in nginx.lines(path)] == ["cut", "cut"]


def test_answer_may_be_oddly_written(start: StartNginx, origin: Origin) -> None:
    """Byte by byte, with chunk extensions, trailers, a folded field, no reason phrase."""
    head = b"HTTP/1.1 200\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    body = b'5 ; a="b c" ; d\r\nhello\r\n00006;x\r\n world\r\n000;y=z\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n'
    answer = (
        b"ICAP/1.0 200\r\nencapsulated:  res-hdr=0 , res-body=%d\r\nX-Violations-Found: 1\r\n\tfile\r\n\r\n"
        % len(head)
    )

    def dribble(request: Request) -> None:
        request.body()
        for byte in answer + head + body:
            request.send(bytes([byte]))

    with stub(dribble) as server:
        nginx = start(server.url())
        first, _ = download(nginx, origin, SMALL, "/down/1")
        second, _ = download(nginx, origin, SMALL, "/down/2")

    assert first.body == second.body == b"hello world"
    assert (first.status, first.headers["content-type"]) == (200, "text/plain")
    assert server.connections == 1


def test_client_that_has_it_already_gets_304_from_nginx(start: StartNginx, origin: Origin) -> None:
    """The upstream does not look at If-None-Match; nginx does, after the scan."""

    def tagged(request: Request) -> None:
        body = request.body()
        request.send(answer_with(b'HTTP/1.1 200 OK\r\nETag: "z"\r\n\r\n', body))

    with stub(tagged) as server:
        nginx = start(server.url())
        for size in (SMALL, LARGE):
            origin.serve("/down/tagged", Page(clean_bytes(size)))
            answer = fetch(nginx.port, nginx.url("/down/tagged"), headers={"If-None-Match": '"z"'})
            assert (answer.status, answer.body, answer.is_whole) == (304, b"", True)

    assert [line.verdict for line in nginx.lines("/down/tagged", 2)] == ["allowed"] * 2


def test_modified_request_takes_the_place_of_the_clients(start: StartNginx, origin: Origin) -> None:
    def modify(request: Request) -> None:
        request.body()
        head = (
            request.heads[0]
            .replace(b"X-Old: 1\r\n", b"X-New: 1\r\n")
            .replace(b"Content-Length: 5", b"Content-Length: 7")
        )
        request.send(answer_with(head, b"changed", kind="req"))

    def elsewhere(request: Request) -> None:
        request.body()
        request.send(answer_with(request.heads[0].replace(b"/up/", b"/other/"), b"changed", kind="req"))

    with stub(modify) as modifying, stub(elsewhere) as moving:
        nginx, other = start(modifying.url()), start(moving.url(), fail="open")
        modified = fetch(nginx.port, nginx.url("/up/mod"), method="POST", body=b"plain", headers={"X-Old": "1"})
        moved = fetch(other.port, other.url("/up/moved"), method="POST", body=b"plain")

    assert modified.status == 201
    [received] = origin.uploads("/up/mod")
    assert (received.size_bytes, received.sha256) == (7, hashlib.sha256(b"changed").hexdigest())
    assert moved.status == 503
    assert origin.uploads("/up/moved") == []
