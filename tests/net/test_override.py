"""Links past a rule, on the wire: offered to one person, good for one content, refused to everybody else."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from icapd.net.override import Overrides
from icapd.net.replies import Pages
from icapd.observe.log import EventLog
from icapd.policy.override import Binding, Seals, derived_key
from icapd.policy.page import BlockPage
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome
from icapd.scan.tree import Examination
from tests.net.inside import Inside, Wire
from tests.net.messages import get, ok, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request, chunk
from tests.support.icapd import Icapd, merged
from tests.support.process import wait_until


def encrypted_zip() -> bytes:
    """A ZIP archive whose one member says that it is encrypted."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("secret.txt", "not really encrypted")
    content = bytearray(packed.getvalue())
    content[content.index(b"PK\x01\x02") + 10] = 99  # AES
    return bytes(content)


SECRET = b"override secret of these tests, 32+"
ALICE = ("X-Client-Username", "alice")
ADDRESS = ("X-Client-IP", "192.0.2.7")
RULES = [
    {
        "name": "games",
        "when": {"host": "games.example"},
        "action": "block",
        "override": True,
        "reason": "Play later.",
    },
    {"name": "jokes", "when": {"url": "*/joke"}, "action": "block", "override": True},
    {"name": "never", "when": {"host": "never.example"}, "action": "block"},
    {"name": "sealed", "when": {"outcome": "encrypted"}, "action": "block", "override": True},
    {
        "name": "testers",
        "when": {"outcome": "malicious", "host": "testers.example"},
        "action": "block",
        "override": True,
    },
    {"name": "big", "when": {"outcome": "too-large"}, "action": "block", "override": True},
]
SEALED = encrypted_zip()
URL = "http://games.example/a?b=c"
LIST_URL = "http://site.example/list"


def server_with(folder: Any, engines: dict[str, Any], **pages: Any) -> Icapd:
    secret = folder / "override.secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    tables = {
        "policy": RULES,
        "pages": {"override_secret_file": str(secret), **pages},
        "service": [
            {"path": "/respmod", "methods": ["RESPMOD"], "max_body_bytes": 50_000},
            {"path": "/reqmod", "methods": ["REQMOD"]},
        ],
    }
    return Icapd(folder, merged(engines, tables))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    with server_with(tmp_path_factory.mktemp("override"), engines) as running:
        yield running


def exchange(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def respmod(
    server: Icapd, url: str, body: bytes, *lines: str, who: tuple[str, str] | None = ALICE, head: bytes = b""
) -> Reply:
    request = head or get(url, "GET", *lines)
    headers = [who] if who else []
    cached = ok(body, "Cache-Control: public, max-age=600", "Expires: never")
    return exchange(server, Request("RESPMOD", "/respmod", request, cached, body, allow="204", headers=headers))


def reqmod(server: Icapd, url: str, *lines: str, who: tuple[str, str] | None = ALICE, method: str = "GET") -> Reply:
    headers = [who] if who else []
    return exchange(server, Request("REQMOD", "/reqmod", get(url, method, *lines), allow="204", headers=headers))


def shown(reply: Reply) -> dict[str, Any]:
    assert reply.http_status == 403
    page: dict[str, Any] = json.loads(reply.body)
    return page


AS_JSON = "Accept: application/json"


def offered(reply: Reply) -> str:
    return str(shown(reply)["override_url"])


def events(server: Icapd, name: str, **fields: object) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.child.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name and fields.items() <= line.items()]


def test_a_response_that_was_blocked_passes_by_the_link_of_its_page(server: Icapd) -> None:
    blocked = shown(respmod(server, LIST_URL, SEALED, AS_JSON))
    link = blocked["override_url"]
    assert link.startswith(f"{LIST_URL}?icapd-override=")
    assert "alice" not in link
    reply = respmod(server, link, SEALED)
    assert reply.status == 200
    assert reply.body == SEALED
    [head] = reply.sections.values()
    assert head.lower().count(b"cache-control") == 1  # else the gateway would keep it for all
    assert b"\r\nCache-Control: no-store\r\n" in head
    assert b"Expires" not in head
    assert "action=override; rule=sealed" in (reply.header("X-Response-Info") or "")
    line = server.access_lines(1, action="override", rule="sealed")[-1]
    assert (line["verdict"], line["outcome"], line["user"]) == ("UNSCANNABLE", "encrypted", "alice")
    assert "icapd-override" not in line["url"]
    used = events(server, "override-used", transaction=line["id"])
    assert [(e["user"], e["rule"], e["url"], e["blocked"]) for e in used] == [
        ("alice", "sealed", LIST_URL, blocked["transaction"])
    ]
    assert server.metric("icapd_overrides_total", result="used") >= 1
    assert server.metric("icapd_overrides_total", result="offered") >= 1


def test_it_passes_more_than_once_until_it_expires(server: Icapd) -> None:
    link = offered(respmod(server, LIST_URL, SEALED, AS_JSON))
    assert [respmod(server, link, SEALED).status for _ in range(2)] == [200, 200]
    assert respmod(server, link, SEALED).body == SEALED


def refusals(server: Icapd, link: str) -> dict[str, Reply]:
    token = link.partition("=")[2]
    expires, transaction, seal, grant = token.split(".")
    base = f"{LIST_URL}?icapd-override="
    bob = ("X-Client-Username", "bob")
    return {
        "other-user": respmod(server, link, SEALED, AS_JSON, who=bob),
        "no-user": respmod(server, link, SEALED, AS_JSON, who=None),
        "address": respmod(server, link, SEALED, AS_JSON, who=ADDRESS),
        "other-url": respmod(server, link.replace("/list", "/lists"), SEALED, AS_JSON),
        "other-query": respmod(server, link.replace("?", "?x=1&"), SEALED, AS_JSON),
        "later": respmod(server, f"{base}{int(expires, 16) + 9:08x}.{transaction}.{seal}.{grant}", SEALED, AS_JSON),
        "grant": respmod(server, f"{base}{expires}.{transaction}.{seal}.{'A' * 22}", SEALED, AS_JSON),
        "seal": respmod(server, f"{base}{expires}.{transaction}.{'A' * 22}.{grant}", SEALED, AS_JSON),
        "spare-bits": respmod(server, link[:-1] + chr(ord(link[-1]) ^ 1), SEALED, AS_JSON),
        "rubbish": respmod(server, f"{base}x", SEALED, AS_JSON),
        "empty": respmod(server, base, SEALED, AS_JSON),
        "script": respmod(server, link, SEALED, AS_JSON, "Sec-Fetch-Mode: cors"),
        "prefetch": respmod(server, link, SEALED, AS_JSON, "Sec-Purpose: prefetch;prerender"),
    }


def test_a_link_that_was_forged_or_moved_opens_nothing(server: Icapd) -> None:
    link = offered(respmod(server, LIST_URL, SEALED, AS_JSON))
    replies = refusals(server, link)
    assert {name: reply.http_status for name, reply in replies.items()} == dict.fromkeys(replies, 403)
    assert {e["result"] for e in events(server, "override-refused")} >= {"forged", "moved", "unasked"}
    html_page = respmod(server, link.replace("/list", "/lists"), SEALED).body.decode()
    assert "The link that led here is not valid for this" in html_page
    assert not offered(replies["no-user"])
    assert not offered(replies["script"])


def test_an_expired_link_opens_nothing(server: Icapd) -> None:
    seals = Seals(derived_key(SECRET))
    binding = Binding("user alice", "site.example:", LIST_URL, "sealed", hashlib.sha256(SEALED).digest())
    long_ago, not_yet = (seals.issue(binding, "abc-1", when) for when in (1_000_000_000, 4_000_000_000))
    assert respmod(server, f"{LIST_URL}?icapd-override={long_ago}", SEALED).http_status == 403
    assert respmod(server, f"{LIST_URL}?icapd-override={not_yet}", SEALED).http_status == 200
    wait_until(lambda: events(server, "override-refused", result="expired"), "an expired link is written down")


def test_other_content_at_the_same_address_is_still_blocked(server: Icapd) -> None:
    link = offered(respmod(server, LIST_URL, SEALED, AS_JSON))
    assert respmod(server, link, EICAR).http_status == 403


def test_malware_cannot_be_overridden_unless_the_rule_names_it(server: Icapd) -> None:
    games = offered(respmod(server, URL, b"a game", AS_JSON))
    page = shown(respmod(server, games, EICAR, AS_JSON))
    assert (page["rule"], page["override_url"]) == ("malicious", "")
    assert offered(respmod(server, "http://site.example/m", EICAR, AS_JSON)) == ""
    named = offered(respmod(server, "http://testers.example/m", EICAR, AS_JSON))
    assert respmod(server, named, EICAR).body == EICAR


def test_nothing_is_offered_without_a_person_or_a_rule_that_allows_it(server: Icapd) -> None:
    assert offered(respmod(server, URL, b"x", AS_JSON, who=None)) == ""
    assert offered(respmod(server, "http://never.example/", b"x", AS_JSON)) == ""
    assert offered(respmod(server, URL, b"x", AS_JSON, "Sec-Fetch-Mode: cors")) == ""
    assert offered(reqmod(server, URL, AS_JSON, method="POST")) == ""
    assert offered(respmod(server, URL, b"x", AS_JSON, who=ADDRESS)) != ""
    assert offered(respmod(server, URL, b"x", AS_JSON, "Sec-Fetch-Mode: navigate")) != ""


def test_what_was_not_judged_whole_is_not_overridden(server: Icapd) -> None:
    large = text(50_001)
    page = shown(respmod(server, "http://site.example/big", large, AS_JSON))
    assert (page["rule"], page["override_url"]) == ("big", "")
    games = offered(respmod(server, URL, b"a game", AS_JSON))
    assert respmod(server, games, text(50_000)).body == text(50_000)
    assert respmod(server, games, large).http_status == 403


def test_a_request_goes_on_without_its_token_and_its_response_passes_too(server: Icapd) -> None:
    link = offered(reqmod(server, URL, AS_JSON))
    assert link.startswith(f"{URL}&icapd-override=")
    reply = reqmod(server, link, "Accept: */*", "X-Icapd-Override: planted")
    [passed] = reply.sections.values()
    assert passed.startswith(b"GET http://games.example/a?b=c HTTP/1.1\r\nHost: games.example\r\nAccept: */*\r\n")
    assert passed.count(b"X-Icapd-Override:") == 1
    assert b"planted" not in passed
    assert server.access_lines(1, method="REQMOD", action="override", rule="games")
    assert respmod(server, URL, b"a game", head=passed).body == b"a game"
    assert respmod(server, URL, b"a game", head=passed, who=ADDRESS).http_status == 403
    assert respmod(server, URL, b"a game").http_status == 403


def test_a_request_that_no_rule_blocks_loses_its_token_all_the_same(server: Icapd) -> None:
    link = offered(respmod(server, LIST_URL, SEALED, AS_JSON))
    [passed] = reqmod(server, link).sections.values()
    assert passed.startswith(f"GET {LIST_URL} HTTP/1.1\r\n".encode())
    assert respmod(server, LIST_URL, SEALED, head=passed).body == SEALED
    [passed] = reqmod(server, f"{LIST_URL}?icapd-override=forged").sections.values()
    assert passed.startswith(f"GET {LIST_URL} HTTP/1.1\r\n".encode())
    assert b"X-Icapd-Override" not in passed


def test_two_rules_are_overridden_one_after_the_other(server: Icapd) -> None:
    url = "http://games.example/joke"
    first = shown(respmod(server, url, SEALED, AS_JSON))
    second = shown(respmod(server, first["override_url"], SEALED, AS_JSON))
    third = shown(respmod(server, second["override_url"], SEALED, AS_JSON))
    assert [page["rule"] for page in (first, second, third)] == ["games", "jokes", "sealed"]
    assert respmod(server, third["override_url"], SEALED).body == SEALED


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "pt", "zh", "ja"])
def test_every_language_and_form_shows_the_link_and_what_it_opens(server: Icapd, language: str) -> None:
    wish = f"Accept-Language: {language}"
    reply = respmod(server, URL, b"x", wish)
    page = reply.body.decode()
    found = re.search(r'<a href="([^"]*icapd-override=[^"]*)" rel="nofollow noreferrer">([^<]+)</a>', page)
    assert found is not None
    assert html.unescape(found[1]).startswith(f"{URL}&icapd-override=")
    assert "Play later." in page
    assert "<dd>games</dd>" in page
    assert b"frame-ancestors 'none'; sandbox" in reply.sections["res-hdr"]
    plain = respmod(server, URL, b"x", wish, "Accept: text/plain").body.decode()
    assert f"{found[2]}: {URL}&icapd-override=" in plain


def test_a_page_without_a_link_is_as_it_was(server: Icapd) -> None:
    reply = respmod(server, "http://never.example/", b"x")
    assert b"sandbox" not in reply.sections["res-hdr"]
    assert b"icapd-override" not in reply.body


def test_a_link_counts_also_when_a_reload_comes_while_its_body_does() -> None:
    before, after = (Inside(policy=RULES, pages={"override_secret_file": "given"}) for _ in range(2))
    for inside in (before, after):
        log = EventLog("debug", inside.events.append, "test")
        overrides = Overrides(derived_key(SECRET), 600, inside.counters, log)
        inside.gateway.pages = Pages({None: BlockPage("{{ override_url }}", "page")}, "", overrides=overrides)

    def begin(url: str) -> Wire:
        request = Request("RESPMOD", "/respmod", get(url), ok(SEALED), SEALED, headers=[ADDRESS])
        return before.connect(request.head("h") + chunk(SEALED))

    def end(wire: Wire, inside: Inside) -> bytes:
        assert wire.protocol is not None
        wire.protocol.dataReceived(b"0\r\n\r\n")
        report = EngineReport("zip", Outcome.FOUND, (Finding(FindingKind.ENCRYPTED, "encrypted:zip", "zip"),))
        inside.scans.running.pop().callback(Examination(reports=(report,), size_bytes=len(SEALED)))
        return wire.sent

    page = end(begin("http://site.example/a"), before)
    found = re.search(rb"http://site\.example/a\?icapd-override=[0-9A-Za-z._-]+", page)
    assert found is not None
    wire = begin(found[0].decode())
    before.gateway.hand_over(after.gateway)
    assert b"; action=override; rule=sealed; " in end(wire, after)
