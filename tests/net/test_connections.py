"""Connections: pipelining, half-closes, ends of every kind, addresses that may connect."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from tests.net.conftest import unix_listener
from tests.net.inside import Inside
from tests.net.messages import KIB, MIB, fronts, get, halted_scanners, reqmod, resident_bytes, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, ReplyError, Request, chunk, chunked
from tests.support.icapd import Icapd
from tests.support.process import wait_until


def whole(request: Request) -> bytes:
    """The request with all of its body."""
    return request.head("x") + request.remainder()


def test_pipelined_requests_are_answered_in_order(server: Icapd) -> None:
    large = text(300_000, "pipelined")
    requests = [
        respmod(large),
        respmod(EICAR, allow="204"),
        reqmod(b"small", "/both"),
        Request("OPTIONS", "/both"),
        respmod(b"gone", "/nowhere"),
    ]
    with IcapClient(server.address) as client:
        client.send(b"".join(whole(request) for request in requests))
        first, second, third, fourth = (client.read_reply(last=False) for _ in range(4))
        assert first.body == large
        assert second.http_status == 403
        assert (third.body, list(third.sections)) == (b"small", ["req-hdr"])
        assert fourth.header("Methods") == "REQMOD, RESPMOD"
        assert client.read_reply().status == 404
        assert client.read_until_closed() == b""


def test_many_at_once_are_answered_in_turns() -> None:
    """A client that floods us keeps nobody else waiting for more than a few of its requests."""
    inside = Inside()
    options = Request("OPTIONS", "/scan").head("x")
    wire = inside.connect(options * 40 + options[:9])
    assert wire.sent.count(b"ICAP/1.0 200 OK") == 16
    assert wire.is_paused
    inside.clock.advance(0)

    assert wire.sent.count(b"ICAP/1.0 200 OK") == 40
    assert not wire.is_paused  # the last one is not whole
    assert not inside.clock.getDelayedCalls()


def test_who_is_gone_has_no_more_turns() -> None:
    inside = Inside()
    wire = inside.connect(Request("OPTIONS", "/scan").head("x") * 40)
    wire.abortConnection()
    inside.clock.advance(0)

    assert wire.sent.count(b"ICAP/1.0 200 OK") == 16


def test_requests_behind_one_that_is_judged_wait_within_a_bound(server: Icapd) -> None:
    """limits.pipelined_bytes: what is past it stays in the kernel's buffers, until the client has to wait."""
    behind = whole(respmod(text(200_000, "behind"), "/both", allow="204"))
    [front] = fronts(server)
    before = resident_bytes(front)
    with IcapClient(server.address) as client, halted_scanners(server):
        client.send(whole(respmod(text(1000, "in front"), "/both", allow="204")))
        sent = send_until_blocked(client, behind * (64 * MIB // len(behind)))
        assert sent < 32 * MIB
        assert resident_bytes(front) - before < 24 * MIB


def test_a_flood_of_requests_whose_answers_nobody_reads_is_bounded(server: Icapd) -> None:
    request = Request("OPTIONS", "/both").head("x")
    [front] = fronts(server)
    before = resident_bytes(front)
    with IcapClient(server.address) as client:
        sent = send_until_blocked(client, request * (48 * MIB // len(request)))
        assert sent < 32 * MIB
        assert resident_bytes(front) - before < 64 * MIB  # all answers together would be 240 MiB
        for _ in range(1000):
            assert client.read_reply(last=False).status == 200


def send_until_blocked(client: IcapClient, data: bytes) -> int:
    """How much of the data the server takes."""
    end, view = client._socket, memoryview(data)
    end.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while view:
            view = view[end.send(view) :]
    end.settimeout(20)
    return len(data) - len(view)


def test_a_half_closed_client_gets_all_its_answers(server: Icapd) -> None:
    body = text(2 * MIB, "half-closed")
    with IcapClient(server.address) as client:
        client.send(whole(respmod(body)) + whole(reqmod(b"second", "/both")))
        client.end_sending()
        assert client.read_reply(last=False).body == body
        second = client.read_reply(last=False)
        assert (second.body, second.header("Connection")) == (b"second", "close")
        assert client.read_until_closed() == b""


@pytest.mark.parametrize("service", ["/both", "/echo"])
def test_a_client_that_half_closes_in_mid_body_is_let_go(server: Icapd, service: str) -> None:
    abandoned = server.metric("icapd_abandoned_total")
    with IcapClient(server.address) as client:
        client.send(respmod(b"", service).head("x") + chunk(b"a part"))
        client.end_sending()
        with contextlib.suppress(ConnectionResetError):
            client.read_until_closed()
    wait_until(lambda: server.metric("icapd_abandoned_total") == abandoned + 1, "it counts as abandoned")


def test_a_client_that_goes_while_its_body_passes_through_frees_it(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        client.send(respmod(b"", "/echo").head("x") + chunk(text(16 * MIB, "gone")))
        wait_until(lambda: server.metric("icapd_spool_bytes") > 1 * MIB, "the client does not read")
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")


def test_bytes_behind_a_last_request_do_not_destroy_its_answer(server: Icapd) -> None:
    body = text(500_000, "last")
    with IcapClient(server.address) as client:
        client.send(whole(respmod(body, headers=[("Connection", "close")])) + b"never read" * 100_000)
        reply = client.read_reply()
        assert (reply.body, reply.header("Connection")) == (body, "close")
        assert client.read_until_closed() == b""


def test_too_much_behind_an_early_answer_ends_the_connection_in_stages(hasty: Icapd) -> None:
    """limits.discard_bytes at the limit, and past it; chunk lines count."""
    request = respmod(b"", "/avscan", url="http://blocked.example/")
    piece = chunk(b"x" * (64 * KIB - 8))
    assert len(piece) == 64 * KIB
    for ending, goes_on in ((chunk(b"y" * (64 * KIB - 8 - 5)) + b"0\r\n\r\n", True), (piece + b"0\r\n\r\n", False)):
        with IcapClient(hasty.address) as client:
            client.send(request.head("x"))
            reply = client.read_reply()
            assert reply.http_status == 403
            client.send(piece * 15 + ending)
            if goes_on:
                assert client.exchange(respmod(None, "/avscan", allow="204")).status == 204
            else:
                assert client.read_until_closed() == b""


def test_a_slow_reader_has_time_as_long_as_it_reads(hasty: Icapd) -> None:
    """Its whole reading takes longer than each time-out that could end it."""
    body = text(12 * MIB, "slow")
    with IcapClient(hasty.address) as client:
        client.send(whole(respmod(body, "/avscan")))
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            piece = client._socket.recv(512 * KIB)
            assert piece, f"closed after {len(received)} of {len(body)} bytes"
            received += piece
            time.sleep(0.08)
    assert len(received) > len(body)


@pytest.mark.parametrize("size_bytes", [1, 100 * KIB, 300 * KIB])
def test_a_last_answer_is_there_for_a_client_that_reads_late(hasty: Icapd, size_bytes: int) -> None:
    """What the kernel has taken for the client must outlive our patience with it."""
    body, url = text(size_bytes, "late"), f"http://site.example/late/{size_bytes}"
    with IcapClient(hasty.address) as client:
        client.send(whole(respmod(body, "/avscan", url=url, headers=[("Connection", "close")])))
        wait_until(lambda: hasty.metric("icapd_open_connections") == 0, "the server has let the client go")
        reply = client.read_reply()
        assert (len(reply.body), reply.body == body) == (len(body), True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS icap://x/nowhere ICAP/1.0\r\n\r\n", 404),
        (b"REQMOD icap://x/respmod ICAP/1.0\r\nEncapsulated: null-body=0\r\n\r\n", 405),
    ],
)
def test_a_wrong_service_or_method_without_a_body_leaves_the_connection_open(
    server: Icapd, data: bytes, status: int
) -> None:
    with IcapClient(server.address) as client:
        for _ in range(2):
            client.send(data)
            reply = client.read_reply()
            assert (reply.status, reply.header("Connection"), reply.body_kind) == (status, None, "null-body")


@pytest.mark.parametrize(
    "data",
    [
        b"REQMOD icap://x/reqmod ICAP/1.0\r\nEncapsulated: null-body=0\r\n",
        b"REQMOD icap://x/echo ICAP/1.0\r\n",
        b"RESPMOD icap://x/respmod ICAP/1.0\r\nEncapsulated: req-hdr=0, null-body=%d\r\n" % len(get()),
    ],
)
def test_a_request_without_the_message_it_is_about_has_nothing_to_give_back(server: Icapd, data: bytes) -> None:
    """A 200 must have a head or a body (errata e4), so that 418 is the answer (e5) where a 204 is not allowed."""
    section = get() if b"req-hdr" in data else b""
    with IcapClient(server.address) as client:
        client.send(data + b"\r\n" + section)
        reply = client.read_reply()
        assert (reply.status, reply.header("Connection"), reply.body_kind) == (418, None, "null-body")
        assert reply.header("X-Response-Info")
        client.send(data + b"Allow: 204\r\n\r\n" + section)
        assert client.read_reply().status == 204


def test_a_broken_body_ends_its_transaction_with_400(server: Icapd) -> None:
    url = "http://site.example/broken"
    errors = server.metric("icapd_protocol_errors_total", status="400")
    with IcapClient(server.address) as client:
        client.send(respmod(b"", url=url).head("x") + b"5\r\nhello!!")
        reply = client.read_reply()
        assert (reply.status, reply.header("Connection")) == (400, "close")
    assert server.metric("icapd_protocol_errors_total", status="400") == errors + 1
    [line] = server.access_lines(1, url=url)
    assert (line["status"], line["error"], line["verdict"]) == (400, "chunk does not end with CRLF", "")
    with IcapClient(server.address) as client:  # its echo has begun: the client must see that it is not whole
        client.send(respmod(b"", "/echo").head("x") + b"5\r\nhello!!")
        with pytest.raises((ReplyError, ConnectionResetError)):
            client.read_reply()


def test_a_unix_socket_serves_whoever_may_open_it(pair: Icapd) -> None:
    path = unix_listener(pair.configuration.parent).removeprefix("unix:")
    url = "http://site.example/unix"
    with IcapClient(path) as client:
        assert client.exchange(respmod(text(100_000, "unix"), url=url, allow="204")).status == 204
        assert client.exchange(respmod(EICAR)).http_status == 403
    [line] = pair.access_lines(1, url=url)
    assert (line["peer"], line["client"]) == ("unix", "unix")


def test_addresses_at_the_edge_of_the_allowed_network(pair: Icapd) -> None:
    for source, is_served in (("127.0.0.1", True), ("127.0.0.2", False)):
        with socket.create_connection(pair.address, timeout=10, source_address=(source, 0)) as client:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(Request("OPTIONS", "/echo").head("x"))
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(4096).startswith(b"ICAP/1.0 200") is is_served


def test_every_feeding_of_a_request_has_the_same_answer(server: Icapd) -> None:
    data = respmod(EICAR, allow="204").head("x") + chunked(EICAR, chunk_bytes=7)
    with IcapClient(server.address) as client:
        for position in range(len(data)):
            client.send(data[position : position + 1])
        assert client.read_reply().http_status == 403
