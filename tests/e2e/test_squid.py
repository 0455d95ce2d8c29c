"""What a browser gets through Squid with icapd at both vectoring points: clean bodies whole, others never."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.eicar import EICAR
from tests.support.fetch import Answer, fetch
from tests.support.icapd import Icapd
from tests.support.origin import Framing, Origin, Page
from tests.support.squid import Squid

KIB = 1024
MIB = 1024 * 1024
PREVIEW = 1024
PIPE = 64 * KIB
"""Squid's body pipe: the size from which it offers no 204 and, before 6.14, stops reading."""


def clean_bytes(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that no scanner knows and no cache has seen; the same on every run."""
    return random.Random(f"{size_bytes}/{seed}").randbytes(size_bytes)


def zip_with_eicar(filling_bytes: int) -> bytes:
    """A ZIP with a stored member of noise in front of the test file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("noise.bin", clean_bytes(filling_bytes))
        archive.writestr("eicar.com", EICAR)
    return packed.getvalue()


def is_block_page(answer: Answer) -> bool:
    return answer.status == 403 and answer.is_whole and answer.headers.get("cache-control") == "no-store"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize(
    "size_bytes", [0, 1, PREVIEW - 1, PREVIEW, PREVIEW + 1, PIPE - 1, PIPE, PIPE + 1, MIB, 20 * MIB]
)
def test_clean_download_is_identical(squid: Squid, origin: Origin, size_bytes: int, framing: Framing) -> None:
    body = clean_bytes(size_bytes)
    url = origin.serve(f"/clean/{framing}/{size_bytes}", Page(body, framing=framing))

    answer = fetch(squid.port, url)

    assert (answer.status, answer.is_whole, len(answer.body)) == (200, True, size_bytes)
    assert answer.body == body


def test_many_large_downloads_at_once_are_whole(squid: Squid, origin: Origin) -> None:
    bodies = [clean_bytes(PIPE + number * 9_973, seed=number) for number in range(1, 51)]
    urls = [origin.serve(f"/many/{number}", Page(body)) for number, body in enumerate(bodies)]

    with ThreadPoolExecutor(8) as browsers:
        answers = list(browsers.map(lambda url: fetch(squid.port, url), urls))

    wrong = [
        (number, answer.status, answer.is_whole, len(answer.body))
        for number, (answer, body) in enumerate(zip(answers, bodies, strict=True))
        if answer.status != 200 or not answer.is_whole or answer.body != body
    ]
    assert wrong == []


def test_head_has_no_body_and_keeps_its_length(squid: Squid, origin: Origin) -> None:
    url = origin.serve("/head", Page(clean_bytes(5_000)))

    answer = fetch(squid.port, url, method="HEAD")

    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5000")


def test_not_modified_passes(squid: Squid, origin: Origin) -> None:
    url = origin.serve("/tagged", Page(clean_bytes(100), etag='"one"'))

    answer = fetch(squid.port, url, headers={"If-None-Match": '"one"'})

    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"one"')


def test_not_found_passes_with_its_page(squid: Squid, origin: Origin) -> None:
    answer = fetch(squid.port, origin.url("/missing"))

    assert (answer.status, answer.body) == (404, b"nothing here\n")


def test_infected_download_becomes_the_block_page(icapd: Icapd, squid: Squid, origin: Origin) -> None:
    body = EICAR + b"\n"  # still the test file, and with a digest that no other test's body has
    url = origin.serve("/eicar.com", Page(body))

    answer = fetch(squid.port, url)

    assert is_block_page(answer)
    assert EICAR not in answer.body
    [line] = icapd.access_lines(1, sha256=hashlib.sha256(body).hexdigest())
    assert (line["method"], line["verdict"], line["action"]) == ("RESPMOD", "MALICIOUS", "block")
    assert line["id"].encode() in answer.body


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_infected_download_is_blocked_however_it_is_coded(
    squid: Squid, origin: Origin, coding: str, framing: Framing
) -> None:
    sent = gzip.compress(EICAR) if coding else EICAR
    page = Page(sent, coding=coding, framing=framing)

    answer = fetch(squid.port, origin.serve(f"/coded/{coding or 'plain'}/{framing}", page))

    assert is_block_page(answer)
    assert EICAR not in answer.body
    assert sent not in answer.body


def test_infected_archive_is_blocked(squid: Squid, origin: Origin) -> None:
    answer = fetch(squid.port, origin.serve("/small.zip", Page(zip_with_eicar(2_000))))

    assert is_block_page(answer)
    assert EICAR not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_infected_upload_never_reaches_the_origin(squid: Squid, origin: Origin, method: str) -> None:
    url = origin.url(f"/upload/eicar/{method}")

    answer = fetch(squid.port, url, method=method, body=EICAR)

    assert is_block_page(answer)
    assert origin.requests(f"/upload/eicar/{method}") == []


def test_infected_chunked_upload_past_the_pipe_never_arrives_whole(squid: Squid, origin: Origin) -> None:
    body = zip_with_eicar(5 * PIPE)

    answer = fetch(squid.port, origin.url("/upload/zip"), method="POST", body=_pieces(body))

    assert is_block_page(answer)
    assert origin.requests("/upload/zip") == []


@pytest.mark.parametrize("size_bytes", [0, 1, PREVIEW, PREVIEW + 1, PIPE + 1, 5 * MIB])
def test_clean_upload_arrives_identical(squid: Squid, origin: Origin, size_bytes: int) -> None:
    body, path = clean_bytes(size_bytes), f"/upload/{size_bytes}"

    answer = fetch(squid.port, origin.url(path), method="POST", body=body)

    assert (answer.status, answer.body) == (201, b"stored\n")
    assert [(upload.size_bytes, upload.sha256) for upload in origin.uploads(path)] == [
        (size_bytes, hashlib.sha256(body).hexdigest())
    ]


def test_clean_chunked_upload_arrives_identical(squid: Squid, origin: Origin) -> None:
    body = clean_bytes(300_000)

    answer = fetch(squid.port, origin.url("/upload/chunked"), method="POST", body=_pieces(body))

    assert answer.status == 201
    assert [upload.sha256 for upload in origin.uploads("/upload/chunked")] == [hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_hit_after_a_drip_breaks_the_transfer_and_the_retry_shows_the_page(
    icapd: Icapd, squid: Squid, origin: Origin, framing: Framing
) -> None:
    """The origin pauses in mid-body until a dripped byte has made Squid send the head; the hit comes after."""
    body, resume = zip_with_eicar(4 * PIPE), threading.Event()
    page = Page(body, framing=framing, pause_at=100_000, resume=resume)
    url = origin.serve(f"/dripped/{framing}.zip", page)
    broken_before = icapd.metric("icapd_transfers_broken_total")

    broken = fetch(squid.port, url, on_head=resume.set)
    again = fetch(squid.port, url)

    assert broken.status == 200
    assert not broken.is_whole
    assert len(broken.body) < 1_000
    assert icapd.metric("icapd_transfers_broken_total") == broken_before + 1
    assert is_block_page(again)


def test_clean_download_after_a_drip_is_identical(squid: Squid, origin: Origin) -> None:
    body, resume = clean_bytes(4 * PIPE, seed=7), threading.Event()
    url = origin.serve("/dripped/clean", Page(body, pause_at=100_000, resume=resume))

    answer = fetch(squid.port, url, on_head=resume.set)

    assert (answer.status, answer.is_whole) == (200, True)
    assert answer.body == body


def _pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 16 * KIB):
        yield body[at : at + 16 * KIB]
