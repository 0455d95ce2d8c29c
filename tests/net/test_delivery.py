"""Every way an answer takes: held and then 204, a page or an echo; decided early; passed through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.net.messages import KIB, MIB, fronts, get, reqmod, resident_bytes, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request, chunk, chunked
from tests.support.icapd import Icapd
from tests.support.process import wait_until

SIZES = {"memory": 64 * KIB, "memfd": 64 * KIB + 1, "largest memfd": 1 * MIB, "disk": 1 * MIB + 1}
TRUSTED = "http://trusted.example/file"
BLOCKED = "http://blocked.example/file"
Make = Callable[..., Request]
DIRECTIONS = pytest.mark.parametrize("make", [respmod, reqmod], ids=["RESPMOD", "REQMOD"])


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        reply = client.exchange(request)
        assert client.exchange(respmod(None, allow="204")).status == 204, "the connection goes on"
        return reply


def verdict(reply: Reply) -> str:
    return (reply.header("X-Response-Info") or "").partition(";")[0]


@DIRECTIONS
@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("preview_bytes", [None, 0, 1024])
def test_a_clean_body_is_left_alone_or_comes_back(
    server: Icapd, make: Make, size_bytes: int, preview_bytes: int | None
) -> None:
    body = text(size_bytes, f"{size_bytes}/{preview_bytes}")
    request: dict[str, Any] = {"service": "/both", "preview_bytes": preview_bytes}
    allowed = ask(server, make(body, **request, allow="204"))
    assert (allowed.status, allowed.body_kind, verdict(allowed)) == (204, "null-body", "CLEAN")
    echoed = ask(server, make(body, **request))
    assert (echoed.status, verdict(echoed)) == (200, "CLEAN")
    assert echoed.body == body


@DIRECTIONS
@pytest.mark.parametrize("padding_bytes", [0, *SIZES.values()], ids=["bare", *SIZES])
@pytest.mark.parametrize("preview_bytes", [None, 1024])
def test_an_infected_body_never_comes_back(
    server: Icapd, make: Make, padding_bytes: int, preview_bytes: int | None
) -> None:
    body = text(padding_bytes, "infected") + EICAR
    for allow in ("", "204"):
        reply = ask(server, make(body, service="/both", preview_bytes=preview_bytes, allow=allow))
        assert (reply.status, reply.http_status, verdict(reply)) == (200, 403, "MALICIOUS")
        assert EICAR not in reply.body


@pytest.mark.parametrize("whole", [b"", b"all of it"])
def test_a_preview_that_is_the_whole_body_may_be_answered_204(server: Icapd, whole: bytes) -> None:
    assert ask(server, respmod(whole, "/both", preview_bytes=1024)).status == 204


@DIRECTIONS
@pytest.mark.parametrize("preview_bytes", [None, 0])
def test_null_body(server: Icapd, make: Make, preview_bytes: int | None) -> None:
    request = make(None, service="/both", preview_bytes=preview_bytes)
    reply = ask(server, request)
    if preview_bytes is None:
        assert (reply.status, reply.body_kind) == (200, "null-body")
        assert reply.sections == {"res-hdr" if make is respmod else "req-hdr": request.res_hdr or request.req_hdr}
    else:
        assert reply.status == 204
    assert ask(server, make(None, service="/both", allow="204")).status == 204


def test_a_head_request_is_blocked_without_a_body(server: Icapd) -> None:
    reply = ask(server, Request("REQMOD", "/reqmod", get(BLOCKED, "HEAD")))
    assert (reply.status, reply.http_status, reply.body_kind) == (200, 403, "null-body")


@pytest.mark.parametrize("service", ["/both", "/echo"])
@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_trailers_come_back(server: Icapd, service: str, size_bytes: int) -> None:
    body = text(size_bytes, "trailers")
    with IcapClient(server.address) as client:
        request = respmod(body, service)
        client.send(request.head(client.host) + chunked(body, end=b"0\r\nX-Sum: 1\r\nX-Other:2\r\n\r\n"))
        reply = client.read_reply()
    assert (reply.status, reply.trailers) == (200, [b"X-Sum: 1", b"X-Other:2"])
    assert reply.body == body


@DIRECTIONS
@pytest.mark.parametrize("url", [TRUSTED, BLOCKED])
@pytest.mark.parametrize("size_bytes", [0, 100, 5_000])
@pytest.mark.parametrize("preview_bytes", [None, 0, 1024])
@pytest.mark.parametrize("allow", ["", "204"])
def test_what_policy_decides_early_is_not_scanned(
    server: Icapd, make: Make, url: str, size_bytes: int, preview_bytes: int | None, allow: str
) -> None:
    body = EICAR + text(size_bytes, "early")
    reply = ask(server, make(body, service="/both", url=url, preview_bytes=preview_bytes, allow=allow))
    assert verdict(reply) == "NOT_SCANNED"
    if url == BLOCKED:
        assert (reply.status, reply.http_status) == (200, 403)
        assert b"Not &lt;here&gt;." in reply.body
        assert reply.header("X-Infection-Found") is None
    elif allow or preview_bytes is not None:
        assert reply.status == 204
    else:
        assert (reply.status, reply.body) == (200, body)


@DIRECTIONS
def test_a_large_body_passes_through_both_ways_at_once(server: Icapd, make: Make) -> None:
    body = text(1 * MIB, "live")
    with IcapClient(server.address) as client:
        request = make(body, service="/echo")
        client.send(request.head(client.host) + chunk(body[:1000]))
        wait_until(lambda: server.metric("icapd_open_connections") >= 1, "it is connected")
        client.send(chunked(body[1000:]))
        assert client.read_reply().body == body


def test_a_client_that_writes_all_before_it_reads_costs_no_memory(server: Icapd) -> None:
    body = text(40 * MIB, "unread")
    [front] = fronts(server)
    with IcapClient(server.address) as client:
        request = respmod(body, "/echo")
        before = resident_bytes(front)
        client.send(request.head(client.host) + request.remainder())
        assert server.metric("icapd_spool_bytes", place="disk") > 1 * MIB
        assert resident_bytes(front) - before < 8 * MIB
        reply = client.read_reply()
        assert (len(reply.body), reply.body == body) == (len(body), True)
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")


@DIRECTIONS
@pytest.mark.parametrize("preview_bytes", [None, 1024])
def test_the_largest_body_is_scanned_and_one_byte_more_is_blocked(
    server: Icapd, make: Make, preview_bytes: int | None
) -> None:
    more: dict[str, Any] = {"service": "/small", "preview_bytes": preview_bytes, "allow": "204"}
    assert ask(server, make(text(100_000, "limit"), **more)).status == 204
    reply = ask(server, make(text(100_001, "limit"), **more))
    assert (reply.status, reply.http_status, verdict(reply)) == (200, 403, "UNSCANNABLE")
    assert reply.header("X-Infection-Found") == "Type=2; Resolution=2; Threat=max_body_bytes;"


@DIRECTIONS
@pytest.mark.parametrize("size_bytes", [100_001, 5 * MIB])
@pytest.mark.parametrize("preview_bytes", [None, 1024])
def test_an_open_policy_lets_a_larger_body_pass_whole_and_says_so(
    server: Icapd, make: Make, size_bytes: int, preview_bytes: int | None
) -> None:
    body = text(size_bytes, "open") + EICAR
    url = f"http://site.example/open/{make.__name__}/{size_bytes}/{preview_bytes}"
    request: dict[str, Any] = {"service": "/small-open", "url": url, "preview_bytes": preview_bytes}
    echoed = ask(server, make(body, **request))
    assert (echoed.status, echoed.body == body, verdict(echoed)) == (200, True, "UNSCANNABLE")
    allowed = ask(server, make(body, **request, allow="204"))
    assert (allowed.status, verdict(allowed)) == (204, "UNSCANNABLE")
    for line in server.access_lines(2, url=url):
        assert (line["verdict"], line["action"], line["findings"]) == ("UNSCANNABLE", "monitor", ["max_body_bytes"])
        assert (line["body_bytes"], line["sha256"]) == (len(body), "")


def test_a_chunk_announced_past_the_ceiling_is_refused_before_it_comes(server: Icapd) -> None:
    request = respmod(b"")
    for service, line in (("/small", b"186a1"), ("/small", b"FFFFFFF"), ("/both", b"7FFFFFFFFFFFFFFF")):
        with IcapClient(server.address) as client:
            head = Request("RESPMOD", service, request.req_hdr, request.res_hdr, b"")
            client.send(head.head(client.host) + line + b"\r\nfirst bytes")
            reply = client.read_reply()
            assert (reply.status, reply.http_status, verdict(reply)) == (200, 403, "UNSCANNABLE")
    body = text(100_001, "announced")
    with IcapClient(server.address) as client:
        open_request = respmod(body, "/small-open")
        client.send(open_request.head(client.host) + chunked(body, chunk_bytes=len(body)))
        assert client.read_reply().body == body


def test_a_folded_header_goes_to_clients_that_read_it_alone(server: Icapd) -> None:
    for service, folds in (("/respmod", True), ("/both", False)):
        reply = ask(server, respmod(EICAR, service))
        assert reply.header("X-Virus-ID") == "EICAR_Test_File"
        assert (reply.header("X-Violations-Found") is not None) is folds
