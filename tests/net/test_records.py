"""What is said of each transaction: access lines, counters, X-Response-Info; and scans that several share."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import pytest

from tests.net.messages import MIB, get, halted_scanners, ok, reqmod, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd
from tests.support.process import wait_until


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def test_an_access_line_has_every_field(server: Icapd) -> None:
    url = "http://site.example/records/page.html"
    body = EICAR + text(20_000, "records")
    headers = [("X-Client-IP", "192.0.2.7"), ("X-Client-Username", "bob")]
    head = get(url + "?secret=1", "POST")
    request = Request("RESPMOD", "/both", head, ok(body), body, preview_bytes=1024, allow="204", headers=headers)
    assert ask(server, request).http_status == 403
    [line] = server.access_lines(1, url=url)
    measured = {name: line.pop(name) for name in ("time", "id", "scan_ms", "total_ms")}
    assert line == {
        "peer": "127.0.0.1",
        "client": "192.0.2.7",
        "user": "bob",
        "service": "/both",
        "method": "RESPMOD",
        "status": 200,
        "http_method": "POST",
        "url": url,
        "http_status": 200,
        "media_type": "text/plain",
        "real_type": "text/plain",
        "body_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "verdict": "MALICIOUS",
        "action": "block",
        "rule": "malicious",
        "findings": ["EICAR_Test_File"],
        "cache": "miss",
        "preview": 1024,
        "dripped_bytes": 0,
        "error": "",
        "outcome": "malicious",
        "name": "",
    }
    assert 0 < measured["scan_ms"] <= measured["total_ms"] < 20_000
    assert 0 <= line_age_s(measured["time"], server) < 60


def line_age_s(started: float, server: Icapd) -> float:
    return server.access_log.stat().st_mtime - started


EXECUTABLE = b"MZ" + bytes(58) + (128).to_bytes(4, "little") + bytes(64) + b"PE\0\0" + bytes(200)
EARLY = "http://trusted.example/records"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda url: respmod(None, url=url, allow="204"), ("CLEAN", "allow", "clean", 204, "none", "clean")),
        (lambda url: respmod(b"", url=url), ("CLEAN", "allow", "clean", 200, "none", "clean")),
        (lambda url: reqmod(text(50, url), url=url), ("CLEAN", "allow", "clean", 200, "miss", "clean")),
        (
            lambda url: respmod(text(50, url), "/echo", url=url),
            ("NOT_SCANNED", "allow", "service-does-not-scan", 200, "none", "not-scanned"),
        ),
        (
            lambda url: respmod(text(5, url), url=EARLY + url[-1]),
            ("NOT_SCANNED", "allow", "trusted-host", 200, "none", "not-scanned"),
        ),
        (
            lambda url: reqmod(None, url=url.replace("site.", "blocked.")),
            ("NOT_SCANNED", "block", "blocked-host", 200, "none", "forbidden"),
        ),
        (
            lambda url: respmod(text(100_001, url), "/small", url=url),
            ("UNSCANNABLE", "block", "too-large", 200, "none", "too-large"),
        ),
        (
            lambda url: Request("RESPMOD", "/respmod", get(url), ok(EXECUTABLE, media_type="image/png"), EXECUTABLE),
            ("SUSPICIOUS", "monitor", "suspicious", 200, "miss", "suspicious"),
        ),
    ],
    ids=["null-body", "empty", "clean", "echo", "early allow", "early block", "too large", "mismatch"],
)
def test_every_transaction_is_recorded_and_says_its_verdict(
    server: Icapd,
    make: Callable[[str], Request],
    expected: tuple[str, str, str, int, str, str],
    request: pytest.FixtureRequest,
) -> None:
    page = make(f"http://site.example/records/{request.node.callspec.indices['make']}")
    verdict, action, _, status, _, outcome = expected
    before = server.metric("icapd_transactions_total", service=page.service, verdict=verdict, action=action)
    outcomes = server.metric("icapd_outcomes_total", service=page.service, outcome=outcome)
    reply = ask(server, page)
    info = reply.header("X-Response-Info") or ""
    assert info.partition(";")[0] == verdict
    assert f"action={action}" in info or info == verdict
    after = server.metric("icapd_transactions_total", service=page.service, verdict=verdict, action=action)
    assert after == before + 1
    assert server.metric("icapd_outcomes_total", service=page.service, outcome=outcome) == outcomes + 1
    assert info.endswith(f"; outcome={outcome}") or info == verdict
    shown = page.req_hdr.split()[1].decode()
    [line] = server.access_lines(1, url=shown)
    assert (line["verdict"], line["action"], line["rule"], line["status"], line["cache"], line["outcome"]) == expected
    assert reply.status == status


def test_identical_bodies_in_flight_share_a_scan_and_later_ones_need_none(server: Icapd) -> None:
    url = "http://site.example/shared"
    request = respmod(text(5_000, "shared"), url=url, allow="204")
    shared = server.metric("icapd_scans_shared_total")
    scans = server.metric("icapd_scan_seconds_count")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(IcapClient(server.address)) for _ in range(4)]
        with halted_scanners(server):
            for client in clients:
                client.send(request.head(client.host) + request.remainder())
            wait_until(lambda: server.metric("icapd_scans_shared_total") == shared + 3, "three wait for one")
            clients.pop().close()
        assert [client.read_reply().status for client in clients] == [204, 204, 204]
        assert clients[0].exchange(request).status == 204
    assert server.metric("icapd_scan_seconds_count") == scans + 1
    sources = sorted(line["cache"] for line in server.access_lines(5, url=url))
    assert sources == ["memory", "miss", "shared", "shared", "shared"]
    assert server.metric("icapd_cache_lookups_total", tier="memory", result="hits") >= 1


def test_another_content_coding_is_another_scan(server: Icapd) -> None:
    url, body = "http://site.example/coded", text(400, "coded")
    for coding in ([], ["Content-Encoding: gzip"]):
        ask(server, Request("RESPMOD", "/both", get(url), ok(body, *coding), body))
    assert [line["cache"] for line in server.access_lines(2, url=url)] == ["miss", "miss"]


def test_a_block_is_remembered_as_well(server: Icapd) -> None:
    url, body = "http://site.example/remembered", EICAR + text(70, "remembered")
    with IcapClient(server.address) as client:
        for _ in range(2):
            assert client.exchange(respmod(body, url=url, allow="204")).http_status == 403
    assert [line["cache"] for line in server.access_lines(2, url=url)] == ["miss", "memory"]


def test_metrics_follow_what_happens(server: Icapd) -> None:
    def counts() -> list[float]:
        return [
            server.metric("icapd_connections_total"),
            server.metric("icapd_findings_total", kind="malware"),
            server.metric("icapd_body_bytes_total"),
            server.metric("icapd_transaction_seconds_count", service="/both"),
            server.metric("icapd_protocol_errors_total", status="404"),
        ]

    before = counts()
    with IcapClient(server.address) as client:
        client.exchange(respmod(EICAR + b"metrics", "/both"))
        client.exchange(respmod(text(2 * MIB, "metrics"), "/both"))
        client.exchange(respmod(None, "/nowhere"))
    body_bytes = len(EICAR) + 7 + 2 * MIB
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, body_bytes, 2, 1]
    assert server.metric("icapd_fronts") == 1
    assert server.metric("icapd_ready") == 1
    assert server.metric("icapd_internal_errors_total") == 0
