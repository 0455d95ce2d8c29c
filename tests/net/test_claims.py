"""What a request says of itself, as policy and the finding it adds see it."""

from __future__ import annotations

import base64

import pytest

from icapd.icap import CodecLimits, Connection, RequestHead
from icapd.net import accounts
from icapd.net.accounts import GROUPS_MAX, read_groups
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
    return Claims(head, "/scan", peer)


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


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "is_base64", "groups"),
    [
        ("Staff, Sales ,Staff", False, ("Staff", "Sales")),
        ("WinNT://CORP/A, WinNT://CORP/B", False, ("WinNT://CORP/A", "WinNT://CORP/B")),
        ("LDAP://h/CN=a,OU=b, LDAP://h/CN=c", False, ("LDAP://h/CN=a,OU=b", "LDAP://h/CN=c")),
        (encoded("WinNT://CORP/A, Local://B"), True, ("WinNT://CORP/A", "Local://B")),
        (f"{encoded('One')}, {encoded('Two')}", True, ("One", "Two")),
        ("not base64!", True, ("not base64!",)),
        (encoded("One"), False, (encoded("One"),)),
        (", ,", False, ()),
    ],
)
def test_groups_are_read_as_the_gateway_is_configured_to_write_them(
    value: str, is_base64: bool, groups: tuple[str, ...]
) -> None:
    for name in (b"x-client-groups", b"x-authenticated-groups"):
        assert read_groups({name: value.encode()}, is_base64) == groups
    assert read_groups({}, is_base64) == ()


def test_groups_are_many_but_bounded() -> None:
    value = ",".join(f"g{number}" for number in range(GROUPS_MAX + 1)).encode()
    assert len(read_groups({b"x-client-groups": value}, False)) == GROUPS_MAX


def test_groups_url_and_time_are_facts() -> None:
    made = claims("REQMOD", "GET http://h.example/a?b=c HTTP/1.1", "", "X-Client-Groups: A, B")
    assert made.facts.groups == ("A", "B")
    assert made.facts.url == "http://h.example/a"
    assert made.facts.week_minute is None


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


def test_long_lists_of_groups_are_read_and_not_kept() -> None:
    def read(length: int) -> bool:
        """Whether it was kept."""
        value = b"a," + b"b" * (length - 2)
        before = accounts._known_groups.cache_info().currsize
        assert read_groups({b"x-client-groups": value}, is_base64=False) == ("a", "b" * (length - 2))
        return accounts._known_groups.cache_info().currsize > before

    accounts._known_groups.cache_clear()
    assert [read(16 * 1024), read(16 * 1024 + 1)] == [True, False]
