"""What a request says of itself, as policy and the finding it adds see it."""

from __future__ import annotations

import pytest

from icapd.icap import CodecLimits, Connection, RequestHead
from icapd.net.record import Claims
from icapd.scan.model import Finding, FindingKind, Identity, ScanReport, Severity, Verdict

PROGRAM = Identity("application/vnd.microsoft.portable-executable", "executable")


def claims(method: str, request: str, response: str = "", *fields: str, peer: str = "192.0.2.1") -> Claims:
    sections = [part.replace("\n", "\r\n").encode() + b"\r\n\r\n" for part in (request, response) if part]
    names = ["req-hdr", "res-hdr"][: len(sections)]
    places = [sum(map(len, sections[:index])) for index in range(len(sections) + 1)]
    encapsulated = ", ".join(f"{name}={place}" for name, place in zip([*names, "null-body"], places, strict=True))
    lines = [f"{method} icap://h/scan ICAP/1.0", "Host: h", f"Encapsulated: {encapsulated}", *fields, "", ""]
    connection = Connection(CodecLimits())
    connection.receive_data("\r\n".join(lines).encode() + b"".join(sections))
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    return Claims(head, "/scan", peer, False)


def clean(identity: Identity = PROGRAM) -> ScanReport:
    return ScanReport(Verdict.CLEAN, identity=identity, size_bytes=10)


def test_extensions_are_facts_of_both_methods() -> None:
    get = "GET http://h.example/a.ex%65?x=1 HTTP/1.1\nHost: h.example"
    assert claims("REQMOD", get).facts.extension == "exe"
    assert claims("RESPMOD", get, "HTTP/1.1 200 OK").facts.extension == "exe"


def test_each_declared_type_is_a_fact() -> None:
    facts = claims(
        "RESPMOD", "GET / HTTP/1.1", "HTTP/1.1 200 OK\nContent-Type: image/png\nContent-Type: text/html; x=y"
    ).facts
    assert facts.media_types == ("image/png", "text/html")


@pytest.mark.parametrize(
    ("peer", "fields", "client"),
    [
        ("unix", (), None),
        ("unix", ("X-Client-IP: 192.0.2.9",), "192.0.2.9"),
        ("192.0.2.1", (), "192.0.2.1"),
    ],
)
def test_a_peer_without_an_address_is_no_client(peer: str, fields: tuple[str, ...], client: str | None) -> None:
    assert claims("REQMOD", "GET / HTTP/1.1", "", *fields, peer=peer).facts.client == client


def test_a_program_declared_as_a_picture_is_suspicious_in_a_response_only_by_its_name() -> None:
    request = "POST http://h.example/a.png HTTP/1.1"
    assert claims("REQMOD", request).in_context(clean()).verdict is Verdict.CLEAN
    seen = claims("RESPMOD", request, "HTTP/1.1 200 OK").in_context(clean())
    assert (seen.verdict, seen.findings[0].kind) == (Verdict.SUSPICIOUS, FindingKind.TYPE_MISMATCH)


@pytest.mark.parametrize("response", ["HTTP/1.1 206 Partial Content", "HTTP/1.1 200 OK\nContent-Range: bytes 0-1/9"])
def test_a_fragment_is_noted(response: str) -> None:
    seen = claims("RESPMOD", "GET http://h.example/a HTTP/1.1", response).in_context(
        clean(Identity("text/plain", "text"))
    )
    assert seen.verdict is Verdict.CLEAN
    assert seen.findings == (Finding(FindingKind.INFO, "partial-content", "icapd", Severity.INFO),)
    whole = claims("RESPMOD", "GET http://h.example/a HTTP/1.1", "HTTP/1.1 200 OK")
    assert whole.in_context(clean(Identity("text/plain", "text"))).findings == ()
