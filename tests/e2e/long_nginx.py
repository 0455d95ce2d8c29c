"""What takes minutes: `make test-long` runs it, `make test` its short form, test_nginx_bulk.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.e2e.nginx_traffic import StartNginx, clean_bytes, upload, with_marker_at_end, wrong_downloads
from tests.e2e.test_nginx_bulk import MB, MEMORY_MAX_BYTES
from tests.support.c_icap import CIcap
from tests.support.fetch import fetch
from tests.support.icapd import Icapd
from tests.support.origin import Origin
from tests.support.ports import LOOPBACK

LONG = "connect=5 send=60 read=120 total=300"


@pytest.mark.parametrize("at_once", [1, 4])
def test_100_of_100_large_downloads_through_icapd(start: StartNginx, icapd: Icapd, at_once: int) -> None:
    nginx = start(icapd.url("/respmod"), timeouts=LONG)

    assert wrong_downloads(nginx, clean_bytes(50 * MB, str(at_once)), count=100, at_once=at_once) == []
    assert {line.verdict for line in nginx.lines("/files/large", 100)} == {"allowed"}
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


@pytest.mark.parametrize("at_once", [1, 4])
def test_100_of_100_large_downloads_through_c_icaps_echo(start: StartNginx, at_once: int) -> None:
    with CIcap() as server:
        nginx = start(server.url, timeouts=LONG)
        assert wrong_downloads(nginx, clean_bytes(50 * MB), count=100, at_once=at_once) == []
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_200_mb_both_ways(start: StartNginx, icapd: Icapd, origin: Origin) -> None:
    nginx = start(icapd.url("/scan"), timeouts=LONG)

    assert wrong_downloads(nginx, clean_bytes(200 * MB), count=1, at_once=1) == []
    assert upload(nginx, 200 * MB, "/up/200").status == 201

    [received] = origin.uploads("/up/200")
    assert received.sha256 == hashlib.sha256(clean_bytes(200 * MB, "/up/200")).hexdigest()
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES


def test_marker_in_the_last_bytes_of_200_mb(start: StartNginx, origin: Origin, tmp_path: Path) -> None:
    body = with_marker_at_end(200 * MB)
    with Icapd(tmp_path / "icapd", {"client": [{"networks": [f"{LOOPBACK}/32"], "profile": "nginx"}]}) as icapd:
        nginx = start(icapd.url("/scan"), timeouts=LONG)
        (nginx.files / "marked").write_bytes(body)
        download = fetch(nginx.port, nginx.url("/files/marked"))
        uploaded = fetch(nginx.port, nginx.url("/up/marked"), method="POST", body=body)

    assert (download.status, uploaded.status) == (403, 403)
    assert origin.requests("/up/marked") == []
    assert nginx.peak_memory_bytes() < MEMORY_MAX_BYTES
