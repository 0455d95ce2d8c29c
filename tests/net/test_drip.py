"""Squid before 6.14 stops in mid-body and waits for a byte of the answer: what it gets, and who never gets any."""

from __future__ import annotations

import pytest

from tests.net.messages import KIB, get, ok, reqmod, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, ReplyError, Request, chunk
from tests.support.icapd import Icapd
from tests.support.process import wait_until

BODY = text(70_000, "dripped")
END = b"0\r\n\r\n"


def begin(server: Icapd, request: Request, sent: bytes) -> IcapClient:
    """A client that stops after `sent`."""
    client = IcapClient(server.address)
    client.send(request.head(client.host) + chunk(sent))
    return client


def await_drips(server: Icapd, count: int = 1) -> None:
    before = server.metric("icapd_drips_total")
    wait_until(lambda: server.metric("icapd_drips_total") >= before + count, f"{count} drips")


def test_a_stalled_download_drips_and_then_comes_whole(server: Icapd) -> None:
    url = "http://site.example/drip/clean"
    with begin(server, respmod(BODY, url=url, allow="204"), BODY) as client:
        await_drips(server, 3)
        client.send(chunk(b"and the rest") + END)
        reply = client.read_reply()
        assert (reply.status, reply.header("X-Response-Info")) == (200, "PENDING")
        assert reply.body == BODY + b"and the rest"
        assert client.exchange(respmod(None, allow="204")).status == 204
    [line] = server.access_lines(1, url=url)
    assert (line["status"], line["verdict"], line["error"]) == (200, "CLEAN", "")
    assert line["dripped_bytes"] >= 3


def test_a_hit_behind_a_drip_breaks_the_transfer_and_the_next_try_gets_the_page(server: Icapd) -> None:
    url = "http://site.example/drip/infected?session=1"
    request = respmod(BODY + EICAR, url=url, allow="204")
    broken = server.metric("icapd_transfers_broken_total")
    with begin(server, request, BODY) as client:
        await_drips(server)
        client.send(chunk(EICAR) + END)
        with pytest.raises((ReplyError, ConnectionResetError)):
            client.read_reply()
    assert server.metric("icapd_transfers_broken_total") == broken + 1
    with IcapClient(server.address) as client:
        client.send(request.head(client.host))  # and not a byte of the body
        reply = client.read_reply()
        assert (reply.http_status, reply.header("X-Virus-ID")) == (403, "EICAR_Test_File")
    with IcapClient(server.address) as client:
        other = respmod(b"another query", url=url.replace("=1", "=2"), allow="204")
        assert client.exchange(other).status == 204
        assert client.exchange(reqmod(None, "/both", url=url, allow="204")).status == 204
    [line] = server.access_lines(1, url=url.partition("?")[0], error="transfer broken")
    assert (line["verdict"], line["action"]) == ("MALICIOUS", "block")


def test_another_host_with_the_same_path_is_not_taken_for_a_broken_transfer(server: Icapd) -> None:
    def of(host: str, body: bytes) -> Request:
        head = f"GET /drip/same HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        return Request("RESPMOD", "/respmod", head, ok(body), body, allow="204")

    with begin(server, of("one.example", BODY + EICAR), BODY) as client:
        await_drips(server)
        client.send(chunk(EICAR) + END)
        with pytest.raises((ReplyError, ConnectionResetError)):
            client.read_reply()
    with IcapClient(server.address) as client:
        assert client.exchange(of("two.example", b"harmless")).status == 204
        assert client.exchange(of("one.example", b"harmless")).http_status == 403


def test_a_body_past_its_ceiling_behind_a_drip(server: Icapd) -> None:
    body = text(200_000, "ceiling")
    with begin(server, respmod(body, "/small", url="http://site.example/drip/large"), body[:70_000]) as client:
        await_drips(server)
        client.send(chunk(body[70_000:]) + END)
        with pytest.raises((ReplyError, ConnectionResetError)):
            client.read_reply()
    with begin(server, respmod(body, "/small-open"), body[:70_000]) as client:
        await_drips(server)
        client.send(chunk(body[70_000:]) + END)
        assert client.read_reply().body == body


def test_who_never_gets_a_drip(server: Icapd) -> None:
    url = "http://site.example/never"
    previewed = Request("RESPMOD", "/both", get(f"{url}/3"), ok(BODY), BODY, preview_bytes=64 * KIB)
    cases = {
        "REQMOD": (reqmod(BODY, "/both", url=f"{url}/0"), 70_000),
        "switched off": (respmod(BODY, "/undripped", url=f"{url}/1"), 70_000),
        "too early": (respmod(BODY, url=f"{url}/2"), 59_999),
        "in a preview": (previewed, 65_000),
        "not scanned": (respmod(BODY, "/echo", url=f"{url}/4", allow="204"), 70_000),
    }
    clients = [begin(server, request, BODY[:sent]) for request, sent in cases.values()]
    with begin(server, respmod(BODY, url=f"{url}/control"), BODY[:60_000]) as control:
        await_drips(server, 3)  # so that the others have had time for some as well
        control.send(chunk(BODY[60_000:]) + END)
        assert control.read_reply().body == BODY
    for client, (name, (request, sent)) in zip(clients, cases.items(), strict=True):
        with client:
            if name == "in a preview":
                client.send(chunk(BODY[sent : 64 * KIB]) + END)
                assert client.read_reply().status == 100
                sent = 64 * KIB
            client.send(chunk(BODY[sent:]) + END)
            assert client.read_reply().status == (204 if request.allow else 200)
    for number in range(len(cases)):
        [line] = server.access_lines(1, url=f"{url}/{number}")
        assert line["dripped_bytes"] == 0
    [line] = server.access_lines(1, url=f"{url}/control")
    assert line["dripped_bytes"] >= 3
