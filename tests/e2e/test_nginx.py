"""What clients get through nginx with icapd: clean bodies whole, others never."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.nginx_traffic import StartNginx, clean_bytes, curl, pieces, with_marker_at_end
from tests.support.eicar import EICAR
from tests.support.fetch import Answer, fetch
from tests.support.icapd import Icapd
from tests.support.nginx import Nginx
from tests.support.origin import Framing, Origin, Page
from tests.support.ports import LOOPBACK
from tests.support.process import wait_until

KIB = 1024
MIB = 1024 * 1024
PREVIEW = 1024
INLINE = 16 * KIB
"""Up to here the client sends head and body at once."""
HOLD = 64 * KIB
"""Up to here the client keeps a response, and offers 204."""
SIZES = [0, 1, PREVIEW - 1, PREVIEW, PREVIEW + 1, INLINE, INLINE + 1, HOLD, HOLD + 1, MIB, 20 * MIB]


@pytest.fixture(scope="module")
def icapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    """Knows that nginx asks, as docs/nginx.md wants it; `/dripping` is as for old versions of Squid."""
    services = [{"path": "/respmod"}, {"path": "/reqmod"}, {"path": "/dripping", "drip_on_stall": True}]
    tables = {"client": [{"networks": [f"{LOOPBACK}/32"], "profile": "nginx"}], "service": services}
    with Icapd(tmp_path_factory.mktemp("icapd"), tables) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(icapd: Icapd, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    directory = tmp_path_factory.mktemp("nginx") / "nginx"
    reqmod, respmod = icapd.url("/reqmod"), icapd.url("/respmod")
    with Nginx(directory, reqmod=reqmod, respmod=respmod, origin_port=origin.port) as running:
        yield running


def is_block_page(answer: Answer) -> bool:
    return answer.status == 403 and answer.is_whole and answer.headers.get("cache-control") == "no-store"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size_bytes", SIZES)
def test_clean_download_is_identical(nginx: Nginx, origin: Origin, size_bytes: int, framing: Framing) -> None:
    body, path = clean_bytes(size_bytes), f"/down/{framing}/{size_bytes}"
    origin.serve(path, Page(body, framing=framing))

    answer = fetch(nginx.port, nginx.url(path))

    assert (answer.status, answer.is_whole, len(answer.body)) == (200, True, size_bytes)
    assert answer.body == body
    if framing == "length":
        assert answer.headers["content-length"] == str(size_bytes)
    [line] = nginx.lines(path)
    nothing_to_scan = framing == "length" and not size_bytes
    assert (line.verdict, line.threat) == ("-" if nothing_to_scan else "allowed", "-")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size_bytes", SIZES)
def test_clean_upload_arrives_identical(nginx: Nginx, origin: Origin, size_bytes: int, framing: Framing) -> None:
    body, path = clean_bytes(size_bytes, "up"), f"/up/{framing}/{size_bytes}"

    answer = fetch(nginx.port, nginx.url(path), method="POST", body=body if framing == "length" else pieces(body))

    assert (answer.status, answer.body) == (201, b"stored\n")
    assert [upload.sha256 for upload in origin.uploads(path)] == [hashlib.sha256(body).hexdigest()]
    assert [line.verdict for line in nginx.lines(path)] == ["allowed" if size_bytes else "-"]


@pytest.mark.parametrize("size_bytes", [100, INLINE, HOLD, MIB, 20 * MIB])
def test_marker_in_the_last_bytes_of_a_download_is_found(nginx: Nginx, origin: Origin, size_bytes: int) -> None:
    path = f"/down/marked/{size_bytes}"
    origin.serve(path, Page(with_marker_at_end(size_bytes)))

    answer = fetch(nginx.port, nginx.url(path))

    assert is_block_page(answer)
    assert EICAR not in answer.body
    [line] = nginx.lines(path)
    assert (line.verdict, line.status) == ("blocked", 403)
    assert "EICAR" in line.threat
    assert line.info.startswith("MALICIOUS")


@pytest.mark.parametrize("size_bytes", [100, INLINE, HOLD, MIB, 20 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_marker_in_the_last_bytes_of_an_upload_never_arrives(
    nginx: Nginx, origin: Origin, size_bytes: int, framing: Framing
) -> None:
    body, path = with_marker_at_end(size_bytes), f"/up/marked/{framing}/{size_bytes}"

    answer = fetch(nginx.port, nginx.url(path), method="PUT", body=body if framing == "length" else pieces(body))

    assert is_block_page(answer)
    assert origin.requests(path) == []
    [line] = nginx.lines(path)
    assert (line.verdict, line.status) == ("blocked", 403)


def test_marker_behind_a_pause_is_a_page(nginx: Nginx, origin: Origin) -> None:
    """A service for Squid would have dripped meanwhile, and could only cut."""
    resume, path = threading.Event(), "/down/paused"
    origin.serve(path, Page(with_marker_at_end(4 * HOLD), pause_at=100_000, resume=resume))
    timer = threading.Timer(0.3, resume.set)
    timer.start()

    answer = fetch(nginx.port, nginx.url(path))

    timer.join()
    assert is_block_page(answer)
    assert [line.verdict for line in nginx.lines(path)] == ["blocked"]


def test_gzip_from_the_upstream_is_scanned_inside_and_passes_as_it_was(nginx: Nginx, origin: Origin) -> None:
    clean, bad = gzip.compress(b"nothing " * 10_000), gzip.compress(EICAR)
    origin.serve("/down/clean.gz", Page(clean, coding="gzip"))
    origin.serve("/down/bad.gz", Page(bad, coding="gzip"))

    passed = fetch(nginx.port, nginx.url("/down/clean.gz"))
    blocked = fetch(nginx.port, nginx.url("/down/bad.gz"))

    assert (passed.status, passed.headers["content-encoding"]) == (200, "gzip")
    assert passed.body == clean
    assert is_block_page(blocked)
    assert "content-encoding" not in blocked.headers
    assert bad not in blocked.body


def test_head_has_no_body_and_keeps_its_length(nginx: Nginx, origin: Origin) -> None:
    origin.serve("/down/head", Page(clean_bytes(5_000)))

    answer = fetch(nginx.port, nginx.url("/down/head"), method="HEAD")

    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5000")
    assert [line.verdict for line in nginx.lines("/down/head")] == ["-"]


def test_not_modified_passes(nginx: Nginx, origin: Origin) -> None:
    origin.serve("/down/tagged", Page(clean_bytes(100), etag='"one"'))

    answer = fetch(nginx.port, nginx.url("/down/tagged"), headers={"If-None-Match": '"one"'})

    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"one"')


def test_error_of_the_upstream_passes_with_its_page(nginx: Nginx, origin: Origin) -> None:
    origin.serve("/down/broken", Page(b"it broke\n", status=500))

    missing = fetch(nginx.port, nginx.url("/down/missing"))
    broken = fetch(nginx.port, nginx.url("/down/broken"))

    assert (missing.status, missing.body) == (404, b"nothing here\n")
    assert (broken.status, broken.body) == (500, b"it broke\n")


def test_range_is_answered_with_the_whole_unless_fragments_may_pass(nginx: Nginx) -> None:
    body = clean_bytes(10_000, "range")
    (nginx.files / "ranged").write_bytes(body)

    whole = fetch(nginx.port, nginx.url("/files/ranged"), headers={"Range": "bytes=100-199"})
    part = fetch(nginx.port, nginx.url("/ranges/ranged"), headers={"Range": "bytes=100-199"})

    assert (whole.status, whole.body) == (200, body)
    assert (part.status, part.headers["content-range"]) == (206, "bytes 100-199/10000")
    assert part.body == body[100:200]


def test_hit_after_a_drip_is_cut_and_the_retry_shows_the_page(
    icapd: Icapd, start: StartNginx, origin: Origin
) -> None:
    """Where nobody has said that nginx asks."""
    nginx, resume = start(icapd.url("/dripping")), threading.Event()
    origin.serve("/down/dripped", Page(with_marker_at_end(4 * HOLD), pause_at=100_000, resume=resume))
    dripped_before = icapd.metric("icapd_drips_total")

    with ThreadPoolExecutor(1) as browser:
        first = browser.submit(fetch, nginx.port, nginx.url("/down/dripped"))
        wait_until(lambda: icapd.metric("icapd_drips_total") > dripped_before, "a drip")
        resume.set()
    again = fetch(nginx.port, nginx.url("/down/dripped"))

    assert first.result().status == 502
    assert is_block_page(again)
    assert [line.verdict for line in nginx.lines("/down/dripped", 2)] == ["cut", "blocked"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_both_ways_in_one_location(nginx: Nginx, origin: Origin, method: str) -> None:
    body, path = clean_bytes(3 * MIB, method), f"/both/{method}"

    passed = fetch(nginx.port, nginx.url(path), method=method, body=body)
    blocked = fetch(nginx.port, nginx.url(f"{path}/bad"), method=method, body=EICAR)

    assert (passed.status, passed.body) == (201, b"stored\n")
    assert [upload.sha256 for upload in origin.uploads(path)] == [hashlib.sha256(body).hexdigest()]
    assert [line.verdict for line in nginx.lines(path)] == ["allowed, allowed"]
    assert is_block_page(blocked)
    assert origin.requests(f"{path}/bad") == []
    assert [line.verdict for line in nginx.lines(f"{path}/bad")] == ["blocked"]


def test_icapd_and_the_inner_server_learn_who_asked(icapd: Icapd, nginx: Nginx) -> None:
    claimed = {"X-Real-IP": "203.0.113.9", "X-Forwarded-Proto": "https"}

    answer = fetch(nginx.port, nginx.url("/down/who"), headers=claimed)

    assert answer.body == f"{LOOPBACK} http".encode()
    [line] = icapd.access_lines(1, sha256=hashlib.sha256(answer.body).hexdigest())
    assert (line["method"], line["client"], line["http_status"]) == ("RESPMOD", LOOPBACK, 200)
    assert line["url"] == nginx.url("/down/who")


def test_http_1_0_client_gets_the_whole_body(nginx: Nginx, origin: Origin, tmp_path: Path) -> None:
    body = clean_bytes(3 * MIB, "old")
    for framing in ("length", "chunked"):
        origin.serve(f"/down/old/{framing}", Page(body, framing=framing))

        status, received = curl(tmp_path, "--http1.0", nginx.url(f"/down/old/{framing}"))

        assert status.startswith("200 1.")
        assert received == body
    assert curl(tmp_path, "--http1.0", "--header", "Host:", nginx.url("/down/old/length"))[0].startswith("200")


def test_http_2_client(nginx: Nginx, origin: Origin, tmp_path: Path) -> None:
    body = clean_bytes(3 * MIB, "two")
    (tmp_path / "body").write_bytes(body)
    base = f"http://{LOOPBACK}:{nginx.http2_port}"
    origin.serve("/down/two", Page(body, framing="chunked"))
    origin.serve("/down/two/bad", Page(EICAR))
    prior = "--http2-prior-knowledge"

    assert curl(tmp_path, prior, f"{base}/down/two") == ("200 2", body)
    assert curl(tmp_path, prior, f"{base}/down/two/bad")[0] == "403 2"
    assert curl(tmp_path, prior, "--upload-file", str(tmp_path / "body"), f"{base}/up/two")[0] == "201 2"
    assert [upload.sha256 for upload in origin.uploads("/up/two")] == [hashlib.sha256(body).hexdigest()]
    assert curl(tmp_path, prior, "--data-binary", EICAR.decode(), f"{base}/up/two/bad")[0] == "403 2"
    assert origin.requests("/up/two/bad") == []
