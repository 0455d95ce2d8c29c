"""Redirects and header edits on the wire: what a client gets in place of its message, or beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from icapd import PRODUCT
from icapd.net.edits import edited
from icapd.policy.facts import HeaderEdits
from tests.net.inside import Inside, Wire
from tests.net.messages import KIB, get, ok, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd, merged

VIA = f"Via: ICAP/1.0 icapd ({PRODUCT})\r\n".encode()
PASSED = {"outcome": ["clean", "too-large"], "host": "edited.example"}
RULES = [
    {
        "name": "portal",
        "when": {"host": "away.example"},
        "action": "redirect",
        "location": "https://portal.example/?u={url}&by={user}&o={outcome}",
        "status": 307,
    },
    {
        "name": "infected-uploads",
        "when": {"outcome": "malicious", "host": "uploads.example"},
        "action": "redirect",
        "location": "https://portal.example/{finding}/{outcome}",
    },
    {
        "name": "edits",
        "when": PASSED,
        "action": "allow",
        "add_headers": {"X-Scanned": "yes"},
        "remove_headers": ["Range", "X-Secret"],
    },
    {"name": "staff", "when": {"group": "Staff"}, "action": "monitor"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    folder = tmp_path_factory.mktemp("actions")
    tables = {
        "spool": {"memory_bytes": 64 * KIB, "memfd_bytes": 128 * KIB, "directory": str(folder)},
        "service": [
            {"path": "/respmod", "methods": ["RESPMOD"]},
            {"path": "/reqmod", "methods": ["REQMOD"], "preview_bytes": 1024},
            {"path": "/small", "max_body_bytes": 100_000, "policy": "open"},
        ],
        "policy": RULES,
    }
    with Icapd(folder, merged(engines, tables)) as running:
        yield running


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def http_head(reply: Reply) -> bytes:
    [section] = reply.sections.values()
    return section


def body_of(reply: Reply) -> bytes | None:
    return None if reply.body_kind == "null-body" else reply.body


def upload(url: str, body: bytes | None, **more: Any) -> Request:
    if body is None:
        return Request("REQMOD", "/reqmod", get(url), **more)
    return Request("REQMOD", "/reqmod", get(url, "POST", f"Content-Length: {len(body)}"), b"", body, **more)


@pytest.mark.parametrize("body", [None, b"", text(40), text(5_000)], ids=["null-body", "empty", "small", "large"])
def test_a_request_is_sent_elsewhere_before_its_body_is_read(server: Icapd, body: bytes | None) -> None:
    preview = None if body is None else 1024
    headers = [("X-Client-Username", "CORP\\bob&x=1")]
    url = "http://away.example/a?b=c"
    reply = ask(server, upload(url, body, preview_bytes=preview, allow="204", headers=headers))
    assert (reply.status, reply.http_status) == (200, 307)
    place = b"https://portal.example/?u=http%3A%2F%2Faway.example%2Fa&by=CORP%5Cbob%26x%3D1&o=forbidden"
    assert b"\r\nLocation: " + place + b"\r\n" in http_head(reply)
    assert b"\r\nContent-Length: 0\r\n" in http_head(reply)
    assert b" GMT\r\n" in http_head(reply).partition(b"\r\nDate: ")[2]
    assert b"\r\nCache-Control: no-store\r\n" in http_head(reply)
    assert reply.header("X-Response-Info") == "NOT_SCANNED; action=redirect; rule=portal; outcome=forbidden"
    line = server.access_lines(1, url="http://away.example/a")[-1]
    assert (line["action"], line["rule"], line["outcome"]) == ("redirect", "portal", "forbidden")


def test_a_redirect_after_the_scan_names_what_was_found(server: Icapd) -> None:
    reply = ask(server, upload("http://uploads.example/", EICAR + text(3_000, "up"), preview_bytes=1024))
    assert reply.http_status == 302
    assert b"\r\nLocation: https://portal.example/EICAR_Test_File/malicious\r\n" in http_head(reply)


def test_a_response_is_not_redirected(server: Icapd) -> None:
    head, body = get("http://away.example/"), text(300, "response")
    assert ask(server, Request("RESPMOD", "/respmod", head, ok(body), body, allow="204")).status == 204


SIZES = [None, 0, 700, 70_000, 200_000]


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("preview", [None, 0, 1024])
def test_a_request_passes_with_its_head_edited_and_its_body_as_it_was(
    server: Icapd, size_bytes: int | None, preview: int | None
) -> None:
    body = None if size_bytes is None else text(size_bytes, f"edited {size_bytes}")
    lines = ["Range: bytes=0-9", "x-SECRET : 1", "\tfolded", "Accept: */*"]
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = get("http://edited.example/x", "POST", *lines, *length)
    request = Request("REQMOD", "/reqmod", head, b"", body, preview_bytes=preview, allow="204")
    reply = ask(server, request)
    expected = (
        get("http://edited.example/x", "POST", "Accept: */*", *length)[:-2] + b"X-Scanned: yes\r\n" + VIA + b"\r\n"
    )
    assert (reply.status, http_head(reply)) == (200, expected)
    assert body_of(reply) == body
    assert (reply.header("X-Response-Info") or "").startswith("CLEAN")


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_response_passes_with_its_head_edited(server: Icapd, size_bytes: int | None) -> None:
    body = None if size_bytes is None else text(size_bytes, f"response {size_bytes}")
    head = ok(body, "X-Secret: 1")
    reply = ask(server, Request("RESPMOD", "/respmod", get("http://edited.example/y"), head, body, allow="204"))
    assert http_head(reply) == ok(body)[:-2] + b"X-Scanned: yes\r\n" + VIA + b"\r\n"
    assert body_of(reply) == body


def test_a_body_past_the_limit_that_may_pass_has_its_head_edited(server: Icapd) -> None:
    body = text(150_000, "past")
    head = ok(body, "X-Secret: 1")
    reply = ask(server, Request("RESPMOD", "/small", get("http://edited.example/z"), head, body, allow="204"))
    assert http_head(reply) == ok(body)[:-2] + b"X-Scanned: yes\r\n" + VIA + b"\r\n"
    assert body_of(reply) == body
    assert (reply.header("X-Response-Info") or "").endswith("; outcome=too-large")


def test_a_group_is_a_condition(server: Icapd) -> None:
    headers = [("X-Authenticated-Groups", "WinNT://CORP/Guests, WinNT://CORP/Staff")]
    body = text(30, "group")
    reply = ask(server, Request("RESPMOD", "/respmod", get(), ok(body), body, allow="204", headers=headers))
    assert reply.header("X-Response-Info") == "NOT_SCANNED; action=monitor; rule=staff; outcome=not-scanned"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n", b"GET / HTTP/1.1\r\nB: 2\r\nN: v\r\n" + VIA + b"\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nN: v\r\n" + VIA + b"\r\n"),
        (b"A: 1\r\na:2\r\nAB: 3\r\n\r\n", b"A: 1\r\nAB: 3\r\nN: v\r\n" + VIA + b"\r\n"),
        (b"GET /\r\nB: 2\nA: 1\nA\t: 2\r\n more\r\nC: 3\r\n\r\n", b"GET /\r\nB: 2\nC: 3\r\nN: v\r\n" + VIA + b"\r\n"),
        (b"", b""),
        (b"no line end", b"no line end"),
    ],
)
def test_a_removed_header_leaves_no_line_that_a_receiver_could_read(head: bytes, expected: bytes) -> None:
    assert edited(head, HeaderEdits(b"N: v\r\n", (b"a",))) == expected


def test_services_that_edit_responses_do_not_drip() -> None:
    def drips(*rules: dict[str, Any]) -> bool:
        entry = Inside(policy=list(rules)).gateway.services.find("/respmod")
        assert entry is not None
        return entry.drips

    edits = {"name": "e", "action": "allow", "add_headers": {"X-A": "1"}, "when": {"outcome": "clean"}}
    assert drips()
    assert not drips(edits)
    assert drips({**edits, "when": {"outcome": "clean", "method": "REQMOD"}})


def test_edits_that_cannot_be_made_in_a_preview_are_told_of() -> None:
    rules = [{"name": "e", "action": "allow", "remove_headers": ["Range"], "when": {"outcome": "timed-out"}}]
    inside = Inside(policy=rules)
    request = Request("REQMOD", "/reqmod", get("http://h.example/", "POST"), b"", text(4_000), preview_bytes=1024)
    wire: Wire = inside.connect(request.head("h") + b"200\r\n" + text(512))
    inside.clock.advance(31)
    inside.factory.sweep()
    inside.clock.advance(3600)
    inside.factory.sweep()
    assert wire.sent.startswith(b"ICAP/1.0 204 ")
    assert b"ERROR; finding=body-timed-out; kind=timeout; action=allow; rule=e; outcome=timed-out" in wire.sent


@pytest.mark.parametrize("padding", ["", "./", "x/../", "%2e/", "/"])
def test_no_padding_leads_around_a_rule_on_urls(padding: str) -> None:
    inside = Inside(policy=[{"name": "ads", "when": {"url": "*.example/ads/*"}, "action": "block"}])
    url = "http://h.example/" + padding * 600 + "ads/" + padding * 600 + "page"
    wire = inside.connect(Request("REQMOD", "/reqmod", get(url), allow="204").head("h"))
    assert b"; rule=ads; " in wire.sent
    assert b"HTTP/1.1 403 " in wire.sent
