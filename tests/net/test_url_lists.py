"""What lists of URLs do to requests and responses on the wire, and what a change of lists changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.messages import halted_scanners, reqmod, respmod, text
from tests.process.reloading import reload
from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd, merged

RULES = [
    {"name": "no-uploads", "when": {"finding": "clouds/*", "method": "REQMOD"}, "action": "block"},
    {"name": "known-good", "when": {"finding": "encrypted"}, "action": "allow"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


@pytest.fixture(scope="module")
def listed(folder: Path, engines: dict[str, Any]) -> Iterator[Icapd]:
    """One front, with a list that is forbidden and a folder that only tells."""
    (folder / "ads.hosts").write_text("0.0.0.0 ads.example xn--bcher-kva.example\n")
    (folder / "clouds/share").mkdir(parents=True)
    (folder / "clouds/share/domains").write_text("share.example\n")
    (folder / "clouds/share/urls").write_text("mixed.example/upload\n")
    lists = [{"path": str(folder / "ads.hosts")}, {"path": str(folder / "clouds"), "kind": "info"}]
    tables = {
        "engines": {"urls": {"lists": lists}},
        "service": [
            {"path": "/respmod", "methods": ["RESPMOD"]},
            {"path": "/reqmod", "methods": ["REQMOD"], "preview_bytes": 1024},
            {"path": "/content", "engines": ["hashes"]},
            {"path": "/skip", "delivery": "skip"},
            {"path": "/echo", "scan": False},
        ],
        "policy": RULES,
    }
    with Icapd(folder, merged(engines, tables)) as running:
        yield running


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def told(reply: Reply) -> str:
    return reply.header("X-Response-Info") or ""


@pytest.mark.parametrize("url", ["http://ads.example/x", "http://b%C3%BCcher.example/", "http://ADS.example.:80/"])
def test_a_request_without_a_body_is_blocked(listed: Icapd, url: str) -> None:
    reply = ask(listed, reqmod(None, url=url))
    assert (reply.status, reply.http_status) == (200, 403)
    assert "ads" in told(reply)


def test_a_tunnel_is_blocked(listed: Icapd) -> None:
    head = b"CONNECT ads.example:443 HTTP/1.1\r\nHost: ads.example:443\r\n\r\n"
    assert ask(listed, Request("REQMOD", "/reqmod", head)).http_status == 403


@pytest.mark.parametrize("request_of", [reqmod, respmod])
def test_a_body_is_not_waited_for(listed: Icapd, request_of: Any) -> None:
    with halted_scanners(listed):
        reply = ask(listed, request_of(text(5000, "listed"), url="http://ads.example/x"))
    assert reply.http_status == 403


def test_what_is_told_is_for_rules(listed: Icapd) -> None:
    for url in ("http://www.share.example/", "http://mixed.example/upload/1"):
        assert ask(listed, reqmod(None, url=url)).http_status == 403
        assert ask(listed, reqmod(text(10, url), url=url)).http_status == 403
        reply = ask(listed, respmod(text(10, url), url=url, allow="204"))
        assert reply.status == 204
        assert "clouds/share" in told(reply)
    assert ask(listed, reqmod(None, url="http://mixed.example/", allow="204")).status == 204


def test_services_without_the_engine_do_not_ask(listed: Icapd) -> None:
    for path in ("/content", "/echo"):
        assert ask(listed, respmod(text(10), path, url="http://ads.example/", allow="204")).status == 204


def test_a_body_that_would_be_skipped_is_blocked_all_the_same(listed: Icapd) -> None:
    assert ask(listed, respmod(text(10), "/skip", url="http://ads.example/")).http_status == 403
    reply = ask(listed, respmod(text(10), "/skip", url="http://share.example/", allow="204"))
    assert (reply.status, told(reply).partition(";")[0]) == (204, "NOT_SCANNED")


def test_a_list_that_changes_leaves_scanners_and_caches(listed: Icapd, folder: Path) -> None:
    with IcapClient(listed.address) as client:
        before = client.options("/respmod").header("ISTag")
    body = text(4000, "remembered")
    assert ask(listed, respmod(body, url="http://later.example/", allow="204")).status == 204
    (folder / "ads.hosts").write_text("0.0.0.0 ads.example xn--bcher-kva.example later.example\n")
    assert reload(listed).problems == []
    assert ask(listed, respmod(body, url="http://later.example/")).http_status == 403
    with IcapClient(listed.address) as client:
        assert client.options("/respmod").header("ISTag") != before
    with halted_scanners(listed):
        assert ask(listed, respmod(body, url="http://other.example/", allow="204")).status == 204
