"""Bodies that are parts, empty, endless or left alone, and requests that have none: each gets its answer."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.net.messages import KIB, get, halted_scanners, ok, reqmod, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request, chunk
from tests.support.icapd import Icapd, merged
from tests.support.process import wait_until

LIMIT_BYTES = 100_000
RANGE = ("Range: bytes=100-199", 'If-Range: "one"')


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    tables = {
        "timeouts": {"body_idle_s": 0.5, "body_total_s": 2.0},
        "server": {"max_connections": 6},
        "service": [
            {"path": "/strict", "policy": "strict", "preview_bytes": 1024},
            {"path": "/strict-as-is", "policy": "strict", "strip_range": False},
            {"path": "/balanced", "max_body_bytes": LIMIT_BYTES, "profile": "nginx"},
            {"path": "/whole", "strip_range": True},
            {"path": "/open", "policy": "open", "max_body_bytes": LIMIT_BYTES, "profile": "nginx"},
            {"path": "/echo", "scan": False, "policy": "strict"},
        ],
        "policy": [
            {
                "name": "whole-programs",
                "when": {"method": "REQMOD", "extension": ["exe"]},
                "action": "allow",
                "remove_headers": ["Range", "If-Range"],
            },
            {"name": "blocked", "when": {"host": "blocked.example"}, "action": "block"},
        ],
    }
    with Icapd(tmp_path_factory.mktemp("odd"), merged(engines, tables)) as running:
        yield running


def ask(server: Icapd, request: Request) -> Reply:
    """The answer; the connection serves the next request, too."""
    with IcapClient(server.address) as client:
        reply = client.exchange(request)
        if reply.header("Connection") != "close":
            assert client.exchange(respmod(None, "/balanced", allow="204")).status == 204
        return reply


def outcome(reply: Reply) -> str:
    return (reply.header("X-Response-Info") or "").partition("; ")[0]


# Requests for a part


@pytest.mark.parametrize("service", ["/strict", "/whole"])
@pytest.mark.parametrize("preview_bytes", [None, 0])
def test_a_request_for_a_part_becomes_one_for_the_whole(odd: Icapd, service: str, preview_bytes: int | None) -> None:
    head = get("http://site.example/file.pdf", "GET", "Accept: */*", *RANGE, "Cookie: a=b")
    reply = ask(odd, Request("REQMOD", service, head, allow="204", preview_bytes=preview_bytes))
    assert reply.status == 200
    lines = reply.sections["req-hdr"].split(b"\r\n")
    assert lines[:4] == [*head.split(b"\r\n")[:3], b"Cookie: a=b"]
    assert lines[4].startswith(b"Via: ")


@pytest.mark.parametrize("service", ["/strict-as-is", "/balanced", "/echo"])
def test_a_request_for_a_part_stays_where_parts_may_pass(odd: Icapd, service: str) -> None:
    assert (
        ask(odd, Request("REQMOD", service, get("http://site.example/a", "GET", *RANGE), allow="204")).status == 204
    )


def test_a_request_without_a_range_is_not_touched(odd: Icapd) -> None:
    assert ask(odd, Request("REQMOD", "/whole", get(), allow="204")).status == 204
    assert ask(odd, reqmod(b"Range: bytes=0-1\r\n", "/whole", allow="204")).status == 204


def test_a_rule_may_ask_for_the_whole_of_some_files(odd: Icapd) -> None:
    def asked(url: str) -> int:
        return ask(odd, Request("REQMOD", "/balanced", get(url, "GET", *RANGE), allow="204")).status

    assert [asked("http://site.example/setup.exe"), asked("http://site.example/film.mp4")] == [200, 204]


def test_a_blocked_request_for_a_part_is_blocked(odd: Icapd) -> None:
    reply = ask(odd, Request("REQMOD", "/whole", get("http://blocked.example/a", "GET", *RANGE)))
    assert reply.http_status == 403


# Parts


def part(body: bytes, service: str, *lines: str, media_type: str = "text/plain", seed: str = "") -> Request:
    head = ok(body, *lines, media_type=media_type).replace(b"200 OK", b"206 Partial Content")
    return Request("RESPMOD", service, get(f"http://site.example/{seed}"), head, body, allow="204")


MULTIPART = (
    b"--x\r\nContent-Range: bytes 0-1/100\r\n\r\nab\r\n--x\r\nContent-Range: bytes 4-5/100\r\n\r\nef\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("body", "line", "media_type"),
    [
        (text(100, "part"), "Content-Range: bytes 100-199/1000", "text/plain"),
        (text(100, "first"), "Content-Range: bytes 0-99/1000", "text/plain"),
        (MULTIPART, "Vary: *", "multipart/byteranges; boundary=x"),
    ],
    ids=["part", "first part", "several"],
)
@pytest.mark.parametrize(("service", "status"), [("/strict", 200), ("/balanced", 204), ("/open", 204)])
def test_a_part_is_blocked_by_strict_and_recorded_by_all(
    odd: Icapd, service: str, status: int, body: bytes, line: str, media_type: str
) -> None:
    seed = f"{service[1:]}/{len(body)}/{line[-8:].replace(' ', '').replace('*', '')}"
    reply = ask(odd, part(body, service, line, media_type=media_type, seed=seed))
    assert reply.status == status
    if status == 200:
        assert reply.http_status == 403
        assert "rule=partial;" in (reply.header("X-Response-Info") or "")
        assert b"This is only a part of a file" in reply.body
        assert b"Download it again from the beginning." in reply.body
    assert "finding=partial-content" in (reply.header("X-Response-Info") or "")
    [logged] = odd.access_lines(1, service=service, url=f"http://site.example/{seed}")
    assert (logged["findings"], logged["verdict"]) == (["partial-content"], "CLEAN")


def test_a_part_that_is_the_whole_is_whole(odd: Icapd) -> None:
    whole = part(text(100, "whole"), "/strict", "Content-Range: bytes 0-99/100")
    assert ask(odd, whole).status == 204


def test_a_hit_in_a_part_is_a_hit(odd: Icapd) -> None:
    for service in ("/balanced", "/open"):
        reply = ask(odd, part(EICAR, service, f"Content-Range: bytes 0-{len(EICAR) - 1}/1000"))
        assert (reply.http_status, outcome(reply)) == (403, "MALICIOUS")


# No body, or an empty one


@pytest.mark.parametrize("service", ["/strict", "/balanced"])
@pytest.mark.parametrize("preview_bytes", [None, 0])
@pytest.mark.parametrize(
    ("request_head", "response_head"),
    [
        (get(method="HEAD"), ok(b"x" * 9000)),
        (get(), b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\n\r\n'),
        (get(), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            get("http://site.example/chat", "GET", "Connection: Upgrade", "Upgrade: websocket"),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (get("http://site.example:443", "CONNECT"), b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ],
    ids=["HEAD", "304", "204", "101", "CONNECT"],
)
def test_a_response_without_a_body_passes(
    odd: Icapd, service: str, preview_bytes: int | None, request_head: bytes, response_head: bytes
) -> None:
    for allow, status in (("204", 204), ("", 204 if preview_bytes == 0 else 200)):
        request = Request("RESPMOD", service, request_head, response_head, None, preview_bytes, allow)
        reply = ask(odd, request)
        assert (reply.status, outcome(reply)) == (status, "CLEAN")
        if status == 200:
            assert (reply.sections["res-hdr"], reply.body_kind) == (response_head, "null-body")


@pytest.mark.parametrize("method", ["REQMOD", "RESPMOD"])
@pytest.mark.parametrize("preview_bytes", [None, 0, 1024])
def test_an_empty_body_passes(odd: Icapd, method: str, preview_bytes: int | None) -> None:
    make = reqmod if method == "REQMOD" else respmod
    reply = ask(odd, make(b"", "/strict", preview_bytes=preview_bytes, allow="204"))
    assert (reply.status, outcome(reply)) == (204, "CLEAN")


def connect(host: str) -> bytes:
    return f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode()


@pytest.mark.parametrize("preview_bytes", [None, 0])
def test_tunnels_and_upgrades_are_what_policy_says_of_their_host(odd: Icapd, preview_bytes: int | None) -> None:
    def asked(head: bytes) -> Reply:
        return ask(odd, Request("REQMOD", "/strict", head, allow="204", preview_bytes=preview_bytes))

    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    assert asked(connect("site.example")).status == 204
    assert asked(connect("blocked.example")).http_status == 403
    assert asked(get("http://site.example/chat", "GET", *upgrade)).status == 204
    assert asked(get("http://blocked.example/chat", "GET", *upgrade)).http_status == 403


# Endless, and left alone


def live(client: IcapClient, service: str, url: str) -> None:
    """A response without a length has begun."""
    head = ok(None, media_type="application/octet-stream")
    client.send(Request("RESPMOD", service, get(url), head, b"").head(client.host))


@pytest.mark.parametrize(
    ("service", "finding", "status"),
    [("/balanced", "max_body_bytes", 403), ("/open", "max_body_bytes", 200)],
)
def test_a_live_stream_ends_at_the_limit_in_what_policy_says(
    odd: Icapd, service: str, finding: str, status: int
) -> None:
    with IcapClient(odd.address) as client:
        live(client, service, "http://site.example/live")
        client.send(chunk(text(LIMIT_BYTES, "live")))
        assert not select.select([client._socket], [], [], 0.2)[0], "at the limit there is no answer yet"
        client.send(chunk(b"x"))
        if status == 200:
            client.send(b"0\r\n\r\n")
        reply = client.read_reply()
        assert (reply.http_status, finding in (reply.header("X-Response-Info") or "")) == (status, True)
        if status == 200:
            assert reply.body == text(LIMIT_BYTES, "live") + b"x"
    wait_until(lambda: odd.metric("icapd_spool_bytes") == 0, "the spool is empty")


def test_a_live_stream_that_trickles_ends_in_time_and_frees_its_place(odd: Icapd) -> None:
    slots = 6
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(IcapClient(odd.address)) for _ in range(slots)]
        for number, client in enumerate(clients):
            live(client, "/balanced", f"http://site.example/radio/{number}")
        waiting = list(clients)
        while waiting:
            answered = select.select([client._socket for client in waiting], [], [], 0.1)[0]
            for client in [client for client in waiting if client._socket in answered]:
                reply = client.read_reply()
                assert (reply.http_status, outcome(reply)) == (403, "ERROR")
                assert "finding=body-timed-out" in (reply.header("X-Response-Info") or "")
                waiting.remove(client)
            for client in waiting:
                client.send(chunk(b"tick"))
    wait_until(lambda: odd.metric("icapd_open_connections") == 0, "all places are free")
    assert ask(odd, respmod(text(100, "after"), "/balanced", allow="204")).status == 204
    assert odd.metric("icapd_spool_bytes") == 0


def test_a_body_left_in_its_middle_is_freed_and_counted(odd: Icapd) -> None:
    before = odd.metric("icapd_abandoned_total")
    url = "http://site.example/left"
    with IcapClient(odd.address) as client:
        live(client, "/balanced", url)
        client.send(chunk(text(64 * KIB, "left")))
        wait_until(lambda: odd.metric("icapd_spool_bytes") >= 64 * KIB, "it is kept")
    wait_until(lambda: odd.metric("icapd_spool_bytes") == 0, "the spool is empty")
    assert odd.metric("icapd_abandoned_total") == before + 1
    [line] = odd.access_lines(1, url=url)
    assert (line["error"], line["verdict"], line["body_bytes"]) == ("client gone", "", 64 * KIB)


def reset(client: IcapClient) -> None:
    """The client is gone for good: a mere end of its sending may be followed by its reading."""
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_scan_that_nobody_waits_for_is_cancelled(odd: Icapd) -> None:
    before = odd.metric("icapd_abandoned_total")
    with halted_scanners(odd), ExitStack() as clients:
        for number in range(4):  # more than there are scanners: some wait in the queue
            client = IcapClient(odd.address)
            clients.callback(reset, client)
            request = respmod(text(32 * KIB, f"gone {number}"), "/balanced")
            client.send(request.head(client.host) + request.remainder())
        wait_until(lambda: odd.metric("icapd_spool_bytes") >= 4 * 32 * KIB, "all are kept")
        clients.close()
        wait_until(lambda: odd.metric("icapd_abandoned_total") == before + 4, "they count as abandoned")
        wait_until(lambda: odd.metric("icapd_scan_queue") == 0, "nothing waits")
    wait_until(lambda: odd.metric("icapd_spool_bytes") == 0, "the spool is empty")
    assert ask(odd, respmod(text(100, "next"), "/balanced", allow="204")).status == 204


def test_a_reset_is_no_more_than_a_client_that_left(odd: Icapd) -> None:
    before = odd.metric("icapd_abandoned_total")
    client = IcapClient(odd.address)
    live(client, "/balanced", "http://site.example/reset")
    client.send(chunk(b"some"))
    reset(client)
    wait_until(lambda: odd.metric("icapd_abandoned_total") == before + 1, "it counts as abandoned")
    assert odd.metric("icapd_internal_errors_total") == 0
