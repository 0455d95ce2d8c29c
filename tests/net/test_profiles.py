"""What clients of each kind get, over the wire: headers, statuses, pages, and whose user they name."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from icapd.config.schema import ProfileName, Settings
from icapd.config.warnings import DRIPPING_PROFILES
from icapd.icap import Reply as IcapReply
from icapd.net.answers import verdict_fields
from icapd.net.link import LOCAL
from icapd.net.profiles import PROFILES
from icapd.net.record import Claims
from icapd.net.replies import Pages, Refusal
from icapd.policy.facts import Action, Decision, Redirect
from icapd.policy.outcomes import Result, sample_report
from icapd.policy.page import BlockPage
from icapd.scan.model import Finding, FindingKind, ScanReport, Verdict
from tests.icap.captured import client_bytes
from tests.net import nextcloud
from tests.net.inside import Inside
from tests.net.messages import get, reqmod, respmod, text
from tests.net.test_claims import claims
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request, chunked
from tests.support.icapd import Icapd, merged

NAMES: tuple[ProfileName, ...] = ("squid", "nginx", "rspamd", "nextcloud", "g3proxy", "generic")
LIMIT_BYTES = 100_000
CAPTURES = ("synthetic-nextcloud-reqmod", "synthetic-nextcloud-respmod")
HELLO = b"6\r\nhello\n\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    """A service for each profile, with the default services' names for Nextcloud and a redirect for requests."""
    tables = {
        "service": [
            *({"path": f"/{name}", "profile": name, "preview_bytes": 1024} for name in NAMES),
            {"path": "/avscan", "profile": "nextcloud", "max_body_bytes": LIMIT_BYTES},
            {"path": "/mail", "profile": "rspamd", "max_body_bytes": LIMIT_BYTES},
            {"path": "/mail-open", "profile": "rspamd", "max_body_bytes": LIMIT_BYTES, "policy": "open"},
            {"path": "/encoded", "user_encoding": "base64"},
        ],
        "policy": [
            {
                "name": "portal",
                "when": {"host": "portal.example"},
                "action": "redirect",
                "location": "https://portal.example.org/",
            },
            {"name": "no-entry", "when": {"host": "blocked.example"}, "action": "block"},
        ],
    }
    with Icapd(tmp_path_factory.mktemp("profiles"), merged(engines, tables)) as running:
        yield running


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def test_the_table_has_every_profile_that_can_be_configured() -> None:
    assert set(PROFILES) == set(NAMES)


def test_default_services_have_the_profiles_of_who_asks_there() -> None:
    profiles = {service.path: service.profile for service in Settings().service}
    assert profiles == {
        "/respmod": "squid",
        "/reqmod": "squid",
        "/scan": "generic",
        "/avscan": "nextcloud",
        "/echo": "generic",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_hit_is_named_in_the_headers_that_each_client_reads(server: Icapd, name: str) -> None:
    reply = ask(server, respmod(EICAR, f"/{name}", allow="204"))
    assert (reply.status, reply.http_status) == (200, 403)
    threat = reply.header("X-Virus-ID")
    assert threat == "EICAR_test_file" or (threat and "EICAR" in threat.upper())
    assert reply.header("X-Infection-Found") == f"Type=0; Resolution=2; Threat={threat};"
    assert reply.header("X-Virus-Name") == threat
    assert (reply.header("X-Violations-Found") is not None) == (name == "squid")


@pytest.mark.parametrize("name", NAMES)
def test_options_offer_a_preview_but_to_g3proxy(server: Icapd, name: str) -> None:
    with IcapClient(server.address) as client:
        reply = client.options(f"/{name}")
    assert (reply.header("Preview"), reply.header("Allow")) == (None if name == "g3proxy" else "1024", "204")


# Users


def encoded(user: str) -> str:
    return base64.b64encode(user.encode()).decode()


@pytest.mark.parametrize(
    ("service", "headers", "user"),
    [
        ("/squid", [("X-Client-Username", "alice")], "alice"),
        ("/squid", [("X-Client-Username", encoded("alice"))], encoded("alice")),
        ("/squid", [("X-Authenticated-User", "WinNT://CORP/bob"), ("X-Client-Username", "alice")], "alice"),
        ("/encoded", [("X-Client-Username", encoded("alice"))], "alice"),
        ("/encoded", [("X-Authenticated-User", encoded("WinNT://CORP/bob"))], "WinNT://CORP/bob"),
        ("/g3proxy", [("X-Client-Username", "eve"), ("X-Authenticated-User", encoded("Local://eve"))], "Local://eve"),
        ("/g3proxy", [("X-Client-Username", encoded("eve"))], encoded("eve")),
        ("/nginx", [], ""),
    ],
)
def test_users_are_read_where_the_client_names_them(
    server: Icapd, service: str, headers: list[tuple[str, str]], user: str
) -> None:
    place = "-".join([service, *(value for header in headers for value in header)])
    url = f"http://site.example/{place.encode().hex()}"
    assert ask(server, respmod(text(200), service, url, allow="204", headers=headers)).status == 204
    assert [line["user"] for line in server.access_lines(1, service=service, url=url)] == [user]


# Nextcloud


def nextcloud_asks(server: Icapd, capture: str, body: bytes) -> bytes:
    """The captured dialogue with another body, in chunks of 1 MiB, written whole before anything is read."""
    data = client_bytes(capture)
    assert data.endswith(HELLO)
    with IcapClient(server.address) as client:
        client.send(data.removesuffix(HELLO) + chunked(body, 1024 * 1024))
        return client.read_until_closed()


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"hello\n", "clean"),
        (text(LIMIT_BYTES, "fits"), "clean"),
        (EICAR, "infected"),
        (text(LIMIT_BYTES + 1, "too large"), "unscannable"),
    ],
    ids=["hello", "at the limit", "eicar", "past the limit"],
)
def test_nextcloud_takes_each_answer_for_what_it_is(server: Icapd, capture: str, body: bytes, expected: str) -> None:
    reply = nextcloud_asks(server, capture, body)
    assert nextcloud.verdict(reply) == expected
    assert b"\r\nConnection: close\r\n" in reply


@pytest.mark.parametrize("header", ["X-Infection-Found", "X-Virus-ID", "X-Virus-Name"])
def test_nextcloud_may_be_told_any_of_three_headers(server: Icapd, header: str) -> None:
    reply = nextcloud_asks(server, CAPTURES[0], EICAR).replace(b"403 Forbidden", b"200 OK")
    assert nextcloud.verdict(reply, header) == "infected"
    assert nextcloud.verdict(reply, header.lower()) == "clean", "the comparison knows upper from lower case"


def test_an_empty_file_of_nextcloud_with_its_two_ends_is_clean(server: Icapd) -> None:
    with IcapClient(server.address) as client:
        client.send(client_bytes("synthetic-nextcloud-reqmod-emptyfile-double-terminator"))
        assert nextcloud.verdict(client.read_until_closed()) == "clean"


def test_what_is_past_a_limit_is_no_page_for_nextcloud(server: Icapd) -> None:
    reply = ask(server, respmod(text(LIMIT_BYTES + 1, "page"), "/avscan", headers=[("Connection", "close")]))
    assert (reply.status, reply.header("X-Error-Code")) == (500, "max_archive_layers_exceeded")
    assert (reply.sections, reply.header("X-Infection-Found")) == ({}, "Type=2; Resolution=2; Threat=max_body_bytes;")
    line = server.access_lines(1, service="/avscan", status=500)[-1]
    assert (line["verdict"], line["action"], line["outcome"]) == ("UNSCANNABLE", "block", "too-large")


def test_a_redirect_would_be_clean_to_nextcloud_and_is_a_page(server: Icapd) -> None:
    url = "http://portal.example/"
    assert ask(server, reqmod(None, "/squid", url)).http_status == 302
    assert ask(server, reqmod(None, "/nextcloud", url)).http_status == 403
    assert ask(server, reqmod(None, "/nextcloud", "http://blocked.example/")).http_status == 403


def refused(profile: ProfileName, report: ScanReport, redirect: Redirect | None = None) -> IcapReply:
    decision = Decision(Action.BLOCK if redirect is None else Action.REDIRECT, "rule", redirect=redirect)
    about: Claims = claims("REQMOD", "GET http://h.example/ HTTP/1.1")
    fields = verdict_fields(report, decision, PROFILES[profile])
    pages = Pages({None: BlockPage("{{ verdict }}", "page")}, "")
    service = Inside(service=[{"path": "/x", "profile": profile}]).gateway.services.find("/x")
    assert service is not None
    return pages.refuse(Refusal(decision, report, about, service, "1", fields, False))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result.CLEAN, "infected"),  # a rule refused it: for its host, type or name
        (Result.MALICIOUS, "infected"),
        (Result.SUSPICIOUS, "infected"),
        (Result.FORBIDDEN, "infected"),
        (Result.TOO_LARGE, "unscannable"),
        (Result.LIMIT, "unscannable"),
        (Result.UNSUPPORTED, "unscannable"),
        (Result.ENCRYPTED, "unscannable"),
        (Result.CORRUPT, "unscannable"),
        (Result.OVERLOADED, "error"),
        (Result.TIMED_OUT, "error"),
        (Result.ENGINE_ABSENT, "error"),
        (Result.ENGINE_FAILED, "error"),
        (Result.NOT_SCANNED, "infected"),
    ],
)
def test_each_refused_outcome_has_its_place_in_nextcloud(result: Result, expected: str) -> None:
    reply = refused("nextcloud", sample_report(result))
    wire = b"ICAP/1.0 %d Reason\r\n%b\r\n%b" % (reply.status, reply.fields, reply.http_head)
    assert nextcloud.verdict(wire) == expected
    for name in set(NAMES) - {"nextcloud"}:
        assert refused(name, sample_report(result)).status == 200


def test_a_hit_beside_what_could_not_be_judged_is_infected_to_nextcloud() -> None:
    found = tuple(Finding(kind, "x", "e") for kind in (FindingKind.ENCRYPTED, FindingKind.FORBIDDEN))
    assert refused("nextcloud", ScanReport(Verdict.UNSCANNABLE, found)).status == 200
    assert refused("nextcloud", ScanReport(Verdict.UNSCANNABLE, found[:1])).status == 500


# Rspamd


@pytest.mark.parametrize(("service", "status"), [("/mail", 200), ("/mail-open", 204)])
def test_rspamd_hears_of_what_could_not_be_judged_even_where_it_passes(
    server: Icapd, service: str, status: int
) -> None:
    reply = ask(server, respmod(text(LIMIT_BYTES + 1, service), service, allow="204"))
    assert (reply.status, reply.header("X-Infection-Found")) == (
        status,
        "Type=2; Resolution=2; Threat=max_body_bytes;",
    )
    assert reply.header("X-Virus-ID") is None


# Which profile


def test_a_client_network_goes_before_the_service(tmp_path: Path, engines: dict[str, Any]) -> None:
    tables = {
        "service": [{"path": "/scan", "profile": "squid", "aliases": ["/other"], "preview_bytes": 64}],
        "client": [
            {"networks": ["192.0.2.0/24"], "profile": "squid"},
            {"networks": ["127.0.0.1/32", "::1/128"], "profile": "g3proxy", "user_encoding": "base64"},
            {"networks": ["127.0.0.0/8"], "profile": "nextcloud"},
        ],
    }
    with Icapd(tmp_path, merged(engines, tables)) as server, IcapClient(server.address) as client:
        assert client.options("/scan").header("Preview") is None
        reply = client.exchange(Request("RESPMOD", "/other", get(), b"HTTP/1.1 200 OK\r\n\r\n", EICAR))
        assert (reply.http_status, reply.header("X-Violations-Found")) == (403, None)


@pytest.mark.parametrize(
    ("peer", "row"),
    [
        ("127.0.0.1", 1),
        ("::ffff:127.0.0.1", 1),
        ("127.0.0.2", 2),
        ("fe80::1%eth0", 3),
        ("198.51.100.1", -1),
        (LOCAL, -1),
    ],
)
def test_the_first_row_that_holds_the_address_counts(peer: str, row: int) -> None:
    rows = [["192.0.2.0/24"], ["127.0.0.1/32"], ["127.0.0.0/8"], ["fe80::/10"]]
    services = Inside(client=[{"networks": row, "profile": "nginx"} for row in rows]).gateway.services
    entry = services.find("/respmod", peer)
    assert entry is not None
    assert entry.client == row
    assert entry.profile == PROFILES["squid" if row < 0 else "nginx"]
    assert services.counterpart(entry) is entry


@pytest.mark.parametrize("name", NAMES)
def test_only_squid_and_the_unknown_are_dripped_to(name: ProfileName) -> None:
    def drips(**service: Any) -> bool:
        entry = Inside(service=[{"path": "/x", "profile": name, **service}]).gateway.services.find("/x")
        assert entry is not None
        return entry.drips

    assert drips() == (name in DRIPPING_PROFILES)
    assert drips(drip_on_stall=True)
    assert not drips(drip_on_stall=False)
