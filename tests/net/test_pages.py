"""The block page on the wire: its form and language as the browser asked, and headers that are true of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.net.messages import get, ok
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd, merged

RULE = {"name": "own", "when": {"host": "own.example"}, "action": "block", "reason": "Not <here>."}
CLOCK_S = 60.0
HELP = "https://help.example/?id={transaction}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    tables = {"policy": [RULE], "pages": {"help_url": HELP, "contact": "4711"}, "service": [{"path": "/both"}]}
    with Icapd(tmp_path_factory.mktemp("pages"), merged(engines, tables)) as running:
        yield running


def page(server: Icapd, *lines: str, url: str = "http://site.example/x", method: str = "GET") -> Reply:
    request = Request("RESPMOD", "/both", get(url, method, *lines), ok(EICAR), EICAR, allow="204")
    with IcapClient(server.address) as client:
        return client.exchange(request)


def headers(reply: Reply) -> dict[str, str]:
    lines = reply.sections["res-hdr"].decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/webp,*/*", "text/html; charset=utf-8"),
    ],
)
@pytest.mark.parametrize(("asked", "language"), [("ja,en;q=0.5", "ja"), ("de-CH", "de"), ("nl", "en")])
def test_a_page_is_what_the_browser_asked_for(
    server: Icapd, accept: str, media_type: str, asked: str, language: str
) -> None:
    reply = page(server, f"Accept: {accept}", f"Accept-Language: {asked}")
    said = headers(reply)
    assert reply.http_status == 403
    assert (said["Content-Type"], said["Content-Language"]) == (media_type, language)
    assert said["Vary"] == "Accept, Accept-Language"
    assert said["Cache-Control"] == "no-store"
    assert abs(parsedate_to_datetime(said["Date"]).timestamp() - time.time()) < CLOCK_S
    assert int(said["Content-Length"]) == len(reply.body)
    line = server.access_lines(1, url="http://site.example/x")[-1]
    assert line["outcome"] == "malicious"
    if media_type == "application/json":
        shown = json.loads(reply.body)
        assert (shown["outcome"], shown["contact"]) == ("malicious", "4711")
        assert shown["help_url"] == HELP.replace("{transaction}", shown["transaction"])
    else:
        assert b"EICAR_Test_File" in reply.body


def test_several_lines_are_one_list_and_none_is_html_in_the_default_language(server: Icapd) -> None:
    assert headers(page(server, "Accept: image/png", "Accept: text/plain"))["Content-Type"].startswith("text/plain")
    said = headers(page(server))
    assert (said["Content-Type"], said["Content-Language"]) == ("text/html; charset=utf-8", "en")


def test_a_rule_of_ones_own_gives_its_own_reason_beside_the_words_for_it(server: Icapd) -> None:
    html = page(server, "Accept-Language: fr", url="http://own.example/").body.decode()
    assert "Not &lt;here&gt;." in html
    assert "Ce contenu a été bloqué" in html
    assert "forbidden (NOT_SCANNED)" in html


def test_the_answer_to_head_has_the_length_of_a_page_and_no_body(server: Icapd) -> None:
    reply = page(server, "Accept: application/json", method="HEAD")
    assert reply.body_kind == "null-body"
    assert int(headers(reply)["Content-Length"]) > 100
