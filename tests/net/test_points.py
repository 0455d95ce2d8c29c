"""Facts of the wire that only the whole server can honour, each under its number (see tests/conformance)."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import socket
import subprocess
import zipfile
from functools import partial
from pathlib import Path

import pytest

from tests.net.conftest import LISTED
from tests.net.messages import KIB, MIB, fronts, get, halted_scanners, ok, reqmod, respmod, scanners, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request, chunk
from tests.support.icapd import ICAPD, Icapd, environment
from tests.support.ports import LOOPBACK
from tests.support.process import wait_until


def ask(server: Icapd, request: Request) -> Reply:
    """The answer on a connection of its own."""
    with IcapClient(server.address) as client:
        return client.exchange(request)


def answers(server: Icapd, data: bytes, address: tuple[str, int] | str | None = None) -> Reply:
    """The answer to raw bytes."""
    with IcapClient(address or server.address) as client:
        client.send(data)
        return client.read_reply()


def test_point_12_reply_heads_stay_small(server: Icapd) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("deep/" * 6000 + "x.com", EICAR)
    reply = ask(server, respmod(packed.getvalue()))
    assert reply.http_status == 403
    assert sum(len(name) + len(value) + 4 for name, value in reply.headers) < 2 * KIB
    assert len(reply.sections["res-hdr"]) < 2 * KIB


def test_point_19_options_offer_preview_with_transfer_preview(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        offered = client.options("/reqmod")
        unoffered = client.options("/respmod")
    assert (offered.header("Preview"), offered.header("Transfer-Preview")) == ("1024", "*")
    assert (unoffered.header("Preview"), unoffered.header("Transfer-Preview")) == (None, None)


@pytest.mark.parametrize("size_bytes", [0, 1, 64 * KIB, 64 * KIB + 1, 2 * MIB])
def test_point_21_without_permission_the_body_is_echoed(server: Icapd, size_bytes: int) -> None:
    body = text(size_bytes, "point 21")
    reply = ask(server, respmod(body))
    assert (reply.status, reply.body) == (200, body)
    after_100 = ask(server, reqmod(text(5_000, "point 21 up"), preview_bytes=1024))
    assert (after_100.status, after_100.body) == (200, text(5_000, "point 21 up"))


def test_point_23_options_do_not_offer_206(server: Icapd) -> None:
    reply = ask(server, Request("OPTIONS", "/both"))
    assert reply.header("Allow") == "204"
    assert ask(server, respmod(text(3_000, 23), allow="204, 206")).status == 204


def test_point_24_every_200_holds_the_sections_squid_wants(server: Icapd) -> None:
    cases = [
        (respmod(text(99)), ["res-hdr"], "res-body"),
        (respmod(None), ["res-hdr"], "null-body"),
        (respmod(EICAR), ["res-hdr"], "res-body"),
        (reqmod(text(99)), ["req-hdr"], "req-body"),
        (reqmod(None), ["req-hdr"], "null-body"),
        (reqmod(EICAR), ["res-hdr"], "res-body"),
        (reqmod(None, url="http://blocked.example/"), ["res-hdr"], "res-body"),
    ]
    with IcapClient(server.address) as client:
        for request, sections, body_kind in cases:
            reply = client.exchange(request)
            assert (reply.status, list(reply.sections), reply.body_kind) == (200, sections, body_kind)


def test_point_25_an_echo_is_byte_exact(server: Icapd) -> None:
    head = (
        b"HTTP/1.0 200\r\nset-COOKIE:  a=1 \r\nSet-Cookie: b=2\r\nContent-Length: 7\r\nX-High: \xe9\xff\r\n"
        b'Content-Encoding: identity\r\nX-Folded: one\r\n two\r\nETag: "x"\r\n\r\n'
    )
    for body in (b"any\x00body", text(300_000, 25)):
        reply = ask(server, Request("RESPMOD", "/respmod", get(), head, body))
        assert (reply.status, reply.sections, reply.body) == (200, {"res-hdr": head}, body)


def test_point_26_block_pages_are_not_stored_and_have_their_own_length(server: Icapd) -> None:
    lines = ('ETag: "1"', "Content-Encoding: x-none", "Content-MD5: x", "Accept-Ranges: bytes", "Expires: never")
    request = Request("RESPMOD", "/respmod", get(), ok(EICAR, *lines), EICAR)
    reply = ask(server, request)
    page = reply.sections["res-hdr"]
    assert page.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nCache-Control: no-store\r\n" in page
    assert b"\r\nContent-Length: %d\r\n" % len(reply.body) in page
    assert not re.search(rb"(?i)\r\n(etag|content-encoding|content-md5|accept-ranges|expires):", page)


def test_point_27_unscannable_is_never_an_icap_error(server: Icapd, hasty: Icapd) -> None:
    too_large = ask(server, respmod(text(100_001, 27), "/small"))
    assert (too_large.status, too_large.http_status) == (200, 403)
    with halted_scanners(hasty):
        timed_out = ask(hasty, respmod(text(99, 27), allow="204"))
    assert (timed_out.status, timed_out.http_status) == (200, 403)
    assert (timed_out.header("X-Response-Info") or "").startswith("ERROR; finding=scan-timed-out")
    assert timed_out.header("X-Infection-Found") == "Type=2; Resolution=2; Threat=scan-timed-out;"
    assert timed_out.header("X-Virus-ID") is None
    wait_until(lambda: len(scanners(hasty)) == 2 and ask(hasty, respmod(text(99, 28))).body, "scanners are back")


def test_point_28_404_405_408_503_are_answered_with_an_istag(server: Icapd, hasty: Icapd) -> None:
    istag = ask(server, Request("OPTIONS", "/both")).header("ISTag")
    with IcapClient(server.address) as client:
        for status, request in ((404, respmod(None, "/nowhere")), (405, reqmod(None, "/respmod"))):
            reply = client.exchange(request)
            assert (reply.status, reply.header("ISTag"), reply.body_kind) == (status, istag, "null-body")
        assert client.exchange(respmod(None, allow="204")).status == 204
    with IcapClient(hasty.address) as client:
        client.send(b"OPTIONS icap://x/respmod ICAP/1.0\r\n")
        late = client.read_reply()
        assert (late.status, late.header("Connection")) == (408, "close")
        assert late.header("ISTag")
        assert client.read_until_closed() == b""


def test_point_29_the_server_reads_while_it_writes(server: Icapd) -> None:
    body = text(8 * MIB, 29)
    for request in (
        respmod(body, "/echo"),
        respmod(body, url="http://trusted.example/"),
        respmod(body, url="http://blocked.example/"),
    ):
        with IcapClient(server.address) as client:
            client.send(request.head(client.host) + request.remainder())
            reply = client.read_reply()
            assert reply.http_status == 403 or reply.body == body
            assert client.exchange(respmod(None, allow="204")).status == 204


def test_point_30_one_istag_for_all_replies_and_processes(pair: Icapd) -> None:
    tags = set()
    requests = [Request("OPTIONS", "/avscan"), respmod(b"30"), respmod(EICAR), respmod(None, "/nowhere")]
    assert len(fronts(pair)) == 2
    for number in range(40):  # the kernel spreads connections over the fronts by their ports
        tags.add(ask(pair, requests[number % 4]).header("ISTag"))
    assert len(tags) == 1
    [tag] = tags
    assert re.fullmatch(r'"[\x21-\x7e]{1,32}"', tag or "")


def test_point_31_options_are_complete(server: Icapd) -> None:
    reply = ask(server, Request("OPTIONS", "/both"))
    names = [name for name, _ in reply.headers]
    assert (reply.status, reply.body_kind) == (200, "null-body")
    assert reply.header("Methods") == "REQMOD, RESPMOD"
    assert {"Methods", "ISTag", "Encapsulated", "Service", "Options-TTL", "Max-Connections"} <= set(names)
    assert len(names) == len(set(names))


def test_point_32_options_have_no_date(server: Icapd) -> None:
    assert ask(server, Request("OPTIONS", "/both")).header("Date") is None


def test_point_33_max_connections_is_generous_or_absent(server: Icapd) -> None:
    assert int(ask(server, Request("OPTIONS", "/both")).header("Max-Connections") or "12000") >= 1000


def test_point_34_query_arguments_are_ignored(server: Icapd) -> None:
    for target in (
        "icap://anything.example:99/both?allow204=on&mode=simple",
        "icaps://[::1]/both?x",
        "/both?action=%20",
        "ICAP://h/both",
    ):
        assert answers(server, f"OPTIONS {target} ICAP/1.0\r\nHost: x\r\n\r\n".encode()).status == 200


def test_point_35_one_uri_for_one_method_or_for_both(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        for service in ("/both", "/alias"):
            assert client.exchange(respmod(b"35", service, allow="204")).status == 204
            assert client.exchange(reqmod(b"35", service, allow="204")).status == 204
        assert client.exchange(reqmod(None, "/reqmod", allow="204")).status == 204
        assert client.exchange(respmod(None, "/reqmod")).status == 405
    assert ask(server, Request("OPTIONS", "/reqmod")).header("Methods") == "REQMOD"


def test_point_37_idle_connections_are_closed_gracefully(hasty: Icapd) -> None:
    with IcapClient(hasty.address) as client:
        assert client.exchange(respmod(None, allow="204")).status == 204
        assert client.read_until_closed() == b""  # a reset would raise
    closing = respmod(None, allow="204", headers=[("Connection", "close")])
    assert ask(hasty, closing).header("Connection") == "close"


def test_point_38_an_abandoned_request_frees_its_spool_and_engines(server: Icapd) -> None:
    abandoned = server.metric("icapd_abandoned_total")
    request = respmod(text(300_000, 38))
    with halted_scanners(server):
        for data in (chunk(text(300_000, 38)), request.remainder()):
            with IcapClient(server.address) as client:
                client.send(request.head(client.host) + data)
                wait_until(lambda: server.metric("icapd_spool_bytes") >= 300_000, "the body is spooled")
            # The second one looks like a half-closed client that still wants its answer, until it gets it.
        wait_until(lambda: server.metric("icapd_abandoned_total") == abandoned + 1, "it counts as abandoned")
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")
    wait_until(lambda: server.metric("icapd_scanners", state="busy") == 0, "no scanner is busy")
    assert server.access_lines(1, error="client gone", body_bytes=300_000)


def test_point_39_every_phase_has_its_timeout(hasty: Icapd) -> None:
    def timeouts(phase: str) -> float:
        return hasty.metric("icapd_timeouts_total", phase=phase)

    def has_risen(phase: str, before: float) -> bool:
        return timeouts(phase) > before

    large = respmod(text(16 * MIB, 39))
    blocked = respmod(None, url="http://blocked.example/", headers=[("Connection", "close")])
    unread = respmod(b"", url="http://blocked.example/")
    with contextlib.ExitStack() as open_clients:

        def sends(*data: bytes) -> None:
            client = open_clients.enter_context(IcapClient(hasty.address))
            for piece in data:
                client.send(piece)

        for phase, data in (
            ("idle", respmod(None, allow="204").head("x")),
            ("head", b"OPTIONS"),
            ("body", respmod(b"0123456789").head("x") + b"a\r\n01234"),
            ("lingering", blocked.head("x")),
            ("discarding", unread.head("x") + b"5\r\n01234\r\n"),
            ("answering", large.head("x") + large.remainder()),
        ):
            before = timeouts(phase)
            sends(data)
            wait_until(partial(has_risen, phase, before), f"{phase} times out")
    wait_until(lambda: hasty.metric("icapd_open_connections") == 0, "all are closed")


def test_point_40_requests_of_one_connection_share_nothing(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        assert client.exchange(respmod(EICAR, allow="204")).http_status == 403
        assert client.exchange(respmod(text(50, 40), allow="204")).status == 204
        assert client.exchange(respmod(text(50, 40))).status == 200
        assert client.exchange(reqmod(EICAR)).http_status == 403
        reply = client.exchange(respmod(None, allow="204"))
        assert (reply.status, reply.header("X-Response-Info")) == (204, "CLEAN")


def test_point_41_credentials_are_neither_logged_nor_returned(server: Icapd) -> None:
    secret = "c2VjcmV0OnBhc3M="
    url = f"http://user:{secret}@site.example/path41?token={secret}#{secret}"
    hidden = [("Proxy-Authorization", f"Basic {secret}"), ("Authorization", f"Basic {secret}")]
    head = get(url, "GET", f"Authorization: Basic {secret}", f"Cookie: {secret}")
    for body in (EICAR, text(60, 41)):
        request = Request("RESPMOD", "/respmod", head, ok(body), body, allow="204", headers=hidden)
        reply = ask(server, request)
        assert secret not in str(reply)
    assert server.access_lines(2, url="http://site.example/path41")
    assert secret not in server.logs()


def test_point_42_via_is_appended_to_what_is_modified(server: Icapd) -> None:
    page = ask(server, respmod(EICAR)).sections["res-hdr"]
    assert re.search(rb"\r\nVia: ICAP/1\.0 \S+ \(icapd/[^)]+\)\r\n", page)
    untouched = Request("RESPMOD", "/respmod", get(), ok(b"42", "Via: 1.1 origin"), b"42")
    assert ask(server, untouched).sections == {"res-hdr": untouched.res_hdr}


def test_point_45_url_rules_without_a_request_head(server: Icapd) -> None:
    for body, status in ((text(70, 45), 204), (EICAR, 200)):
        assert ask(server, Request("RESPMOD", "/respmod", b"", ok(body), body, allow="204")).status == status
    bare = Request("RESPMOD", "/respmod", b"", b"", text(80, 45))
    assert (ask(server, bare).body, ask(server, bare).sections) == (bare.body, {})


@pytest.mark.parametrize("request_", [respmod(EICAR), reqmod(EICAR, allow="204")], ids=["RESPMOD", "REQMOD"])
def test_point_46_x_infection_found_has_the_form_rspamd_reads(server: Icapd, request_: Request) -> None:
    found = ask(server, request_).header("X-Infection-Found")
    assert re.fullmatch(r"Type=0; Resolution=2; Threat=[A-Za-z0-9._-]*EICAR[A-Za-z0-9._-]*;", found or "")


def test_point_47_clean_replies_have_no_infection_headers(server: Icapd) -> None:
    for request in (
        respmod(text(90, 47), allow="204"),
        respmod(text(91, 47)),
        respmod(None),
        Request("OPTIONS", "/both"),
    ):
        names = {name.lower() for name, _ in ask(server, request).headers}
        assert not names & {"x-infection-found", "x-virus-id", "x-virus-name", "x-violations-found", "x-blocked"}


def test_point_48_x_infection_found_and_x_virus_name_on_every_block(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        for request in (respmod(EICAR), reqmod(EICAR)):
            reply = client.exchange(request)
            name = reply.header("X-Virus-Name")
            assert name
            assert (reply.header("X-Virus-ID"), f"Threat={name};" in str(reply.header("X-Infection-Found"))) == (
                name,
                True,
            )


def test_point_49_threat_names_are_sanitised(server: Icapd) -> None:
    reply = ask(server, respmod(LISTED))
    name = reply.header("X-Virus-ID") or ""
    assert re.fullmatch(r"[A-Za-z0-9._:@+/-]{3,100}", name)
    assert "X-Evil" not in [name for name, _ in reply.headers]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a\r\nX-Evil: 1;\u00e9 b.com", EICAR)
    reply = ask(server, respmod(packed.getvalue()))
    assert re.fullmatch(r"1 \S+ \S+ 0 2", reply.header("X-Violations-Found") or "")
    assert "X-Evil" not in [name for name, _ in reply.headers]


def test_point_50_identity_headers_are_read_as_configured(pair: Icapd, server: Icapd) -> None:
    plain = "WinNT://example/alice"
    coded = base64.b64encode(plain.encode()).decode()
    for running, sent in ((server, plain), (pair, coded)):
        for number, name in enumerate(("X-Client-Username", "X-Authenticated-User")):
            url = f"http://site.example/point50/{number}"
            headers = [("X-Client-IP", "192.0.2.50"), (name, sent)]
            ask(running, respmod(text(10, number), url=url, headers=headers))
            [line] = running.access_lines(1, url=url)
            assert (line["client"], line["user"], line["peer"]) == ("192.0.2.50", plain, LOOPBACK)
    refused = pair.metric("icapd_connections_refused_total", reason="address")
    with socket.create_connection(pair.address, timeout=10, source_address=("127.0.0.2", 0)) as stranger:
        assert stranger.recv(1) == b""
    assert pair.metric("icapd_connections_refused_total", reason="address") == refused + 1


def test_point_51_icaps_is_left_to_a_proxy_in_front(server: Icapd, tmp_path: Path) -> None:
    """Named in the README: TLS ends in front. What such a proxy passes on is served; a listener for it is refused."""
    reply = answers(server, b"OPTIONS icaps://filter.example:11344/both ICAP/1.0\r\nHost: filter.example\r\n\r\n")
    assert reply.status == 200
    configuration = tmp_path / "icapd.toml"
    configuration.write_text('[server]\nlisten = ["icaps://127.0.0.1:11344"]\n')
    done = subprocess.run(
        [ICAPD, "serve", "--config", str(configuration)],
        capture_output=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert b"server.listen" in done.stderr


def test_point_52_closing_does_not_destroy_the_reply(server: Icapd) -> None:
    body = text(1 * MIB, 52)
    for request in (
        respmod(body, "/nowhere"),
        respmod(body, url="http://blocked.example/", headers=[("Connection", "close")]),
    ):
        with IcapClient(server.address) as client:
            client.send(request.head(client.host) + request.remainder())
            reply = client.read_reply()
            assert (reply.status in (404, 200), reply.header("Connection")) == (True, "close")
            assert client.read_until_closed() == b""


def test_point_53_errors_have_an_istag_and_idle_clients_block_nobody(server: Icapd) -> None:
    endings = b" icap://x/both ICAP/1.0\r\nHost: x\r\n"
    bodies = b"RESPMOD" + endings + b"Encapsulated: res-body=0\r\n\r\n"
    for data, status in (
        (b"BREW" + endings + b"\r\n", 501),
        (b"OPTIONS icap://x/both ICAP/2.0\r\n\r\n", 505),
        (b"OPTIONS" + endings + b"no colon\r\n\r\n", 400),
        (b"RESPMOD" + endings + b"Encapsulated: req-body=0\r\n\r\n", 418),
        (bodies + b"-1\r\n", 400),
        (bodies + b"0x10\r\n", 400),
        (bodies + b"FFFFFFFFFFFFFFFF\r\n", 400),
        (b"OPTIONS" + endings + b"X: " + b"x" * 65_536, 400),
    ):
        reply = answers(server, data)
        assert (reply.status, reply.body_kind, reply.header("Connection")) == (status, "null-body", "close")
        assert reply.header("ISTag")
    with contextlib.ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(IcapClient(server.address)).send(b"O")
        assert ask(server, respmod(text(95, 53), allow="204")).status == 204
        giant = bodies + b"7FFFFFFF\r\n" + text(1000)
        idle.enter_context(IcapClient(server.address)).send(giant)
        assert ask(server, respmod(text(96, 53), allow="2040")).status == 200
