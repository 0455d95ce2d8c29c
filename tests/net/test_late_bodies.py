"""A body that stops coming, or comes too slowly: policy answers, as mostly an origin is slow and no client at fault.

The server's patience: 0.5 s without a byte, 3 s for a whole body.
"""

from __future__ import annotations

import contextlib
import select

import pytest

from tests.net.messages import reqmod, respmod, text
from tests.support.icap_client import IcapClient, Reply, ReplyError, Request, chunk
from tests.support.icapd import Icapd
from tests.support.process import wait_until

END = b"0\r\n\r\n"
PART = b"event: one\n\n"


def begin(server: Icapd, request: Request, sent: bytes = PART) -> IcapClient:
    """A client that stops after `sent`."""
    client = IcapClient(server.address)
    client.send(request.head(client.host) + chunk(sent))
    return client


def await_silence(server: Icapd, times: int = 1) -> None:
    before = server.metric("icapd_timeouts_total", phase="body")
    wait_until(lambda: server.metric("icapd_timeouts_total", phase="body") >= before + times, "the body times out")


def info(reply: Reply) -> str:
    return (reply.header("X-Response-Info") or "").partition("; rule=")[0]


@pytest.mark.parametrize("allow", ["", "204"])
@pytest.mark.parametrize("preview_bytes", [None, 1024])
def test_a_silent_body_gets_the_page_and_the_connection_ends(
    hasty: Icapd, allow: str, preview_bytes: int | None
) -> None:
    url = f"http://site.example/silent/{allow}/{preview_bytes}"
    with begin(hasty, respmod(PART, "/avscan", url=url, allow=allow, preview_bytes=preview_bytes)) as client:
        reply = client.read_reply()
        assert (reply.status, reply.http_status, reply.header("Connection")) == (200, 403, "close")
        assert info(reply) == "ERROR; finding=body-timed-out; kind=timeout; action=block"
        assert client.read_until_closed() == b""
    [line] = hasty.access_lines(1, url=url)
    assert (line["status"], line["verdict"], line["body_bytes"]) == (200, "ERROR", len(PART))


def test_a_body_that_never_ends_is_no_better_than_a_silent_one(hasty: Icapd) -> None:
    with begin(hasty, respmod(PART, "/avscan")) as client:
        while not select.select([client._socket], [], [], 0.1)[0]:
            client.send(chunk(PART))
        assert info(client.read_reply()) == "ERROR; finding=body-timed-out; kind=timeout; action=block"


def test_where_policy_lets_errors_pass_the_body_passes_as_it_comes(hasty: Icapd) -> None:
    for make in (respmod, reqmod):
        with begin(hasty, make(PART * 3, "/open")) as client:
            await_silence(hasty, 2)  # the second one finds it passing already
            client.send(chunk(PART) + chunk(PART) + END)
            reply = client.read_reply()
            assert (reply.status, reply.body) == (200, PART * 3)
            assert info(reply) == "ERROR; finding=body-timed-out; kind=timeout; action=monitor"
            assert client.exchange(respmod(None, "/open", allow="204")).status == 204


def test_a_body_that_passes_is_not_kept(hasty: Icapd) -> None:
    with begin(hasty, respmod(PART * 2, "/open", allow="204")) as client:
        await_silence(hasty)
        wait_until(lambda: hasty.metric("icapd_spool_bytes") == 0, "the spool is empty")
        client.send(chunk(PART) + END)
        reply = client.read_reply()
        assert (reply.status, reply.header("Connection")) == (204, None)
        assert info(reply) == "ERROR; finding=body-timed-out; kind=timeout; action=monitor"


def test_a_204_is_given_before_the_end_of_a_body_that_takes_too_long(hasty: Icapd) -> None:
    with begin(hasty, respmod(PART * 2, "/open", allow="204")) as client:
        reply = client.read_reply()
        assert (reply.status, reply.header("Connection")) == (204, "close")
        assert client.read_until_closed() == b""


def test_an_echo_that_takes_too_long_is_cut(hasty: Icapd) -> None:
    url = "http://site.example/late/echo"
    with (
        begin(hasty, respmod(PART * 2, "/echo", url=url)) as client,
        pytest.raises((ReplyError, ConnectionResetError)),
    ):
        client.read_reply()
    [line] = hasty.access_lines(1, url=url)
    assert (line["status"], line["error"], line["body_bytes"]) == (200, "body timed out", len(PART))


def test_a_silent_body_behind_a_drip(hasty: Icapd) -> None:
    url = "http://site.example/late/dripped"
    body = text(70_000, "late")
    broken = begin(hasty, respmod(body, "/avscan", url=url), body[:65_000])
    with broken, pytest.raises((ReplyError, ConnectionResetError)):
        broken.read_reply()
    [line] = hasty.access_lines(1, url=url)
    assert line["verdict"] == "ERROR"
    assert 2 <= line["dripped_bytes"] <= 8  # the interval doubles: in one stall not even a long wait costs many
    with IcapClient(hasty.address) as client:  # an error may be over by the next try
        assert client.exchange(respmod(body, "/avscan", url=url, allow="204")).status == 204
    with begin(hasty, respmod(body, "/open", url=url), body[:65_000]) as client:
        await_silence(hasty)
        client.send(chunk(body[65_000:]) + END)
        assert client.read_reply().body == body


def test_a_body_is_blocked_early_by_its_head_and_then_late(hasty: Icapd) -> None:
    """Its page waits for the end of a preview that does not come."""
    url = "http://blocked.example/late"
    with begin(hasty, respmod(PART * 2, "/avscan", url=url, preview_bytes=1024)) as client:
        reply = client.read_reply()
        assert (reply.http_status, reply.header("Connection")) == (403, "close")
        with contextlib.suppress(ConnectionResetError):
            assert client.read_until_closed() == b""
