"""Two hundred downloads from 65 KB to 100 MB through Debian's Squid, from an origin as fast as loopback, with the
default configuration: each whole and identical; and bad ones of all sizes, none of which arrives whole."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.test_squid import KIB, MIB, clean_bytes, is_block_page, zip_with_eicar
from tests.support.fetch import fetch
from tests.support.icapd import Icapd
from tests.support.origin import Origin, Page
from tests.support.squid import Squid


@pytest.fixture(scope="module")
def icapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    """As it is by default where there are two cores."""
    with Icapd(tmp_path_factory.mktemp("icapd"), {"server": {"fronts": 2}}) as running:
        yield running


SIZES = [65 * KIB, 100 * KIB, 300 * KIB, MIB, 3 * MIB, 10 * MIB]
LARGE = [30 * MIB, 100 * MIB]


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_hundred_downloads_are_whole(squid: Squid, origin: Origin, at_once: int) -> None:
    chance = random.Random(at_once)
    sizes = [chance.choice(SIZES) + chance.randrange(KIB) for _ in range(96)] + LARGE * 2

    def download(job: tuple[int, int]) -> tuple[int, bool, bool]:
        number, size = job
        body = clean_bytes(size, seed=number + 1000 * at_once)
        path = f"/long/{at_once}/{number}"
        answer = fetch(squid.port, origin.serve(path, Page(body)))
        origin.forget(path)
        return answer.status, answer.is_whole, hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()

    with ThreadPoolExecutor(at_once) as browsers:
        assert list(browsers.map(download, enumerate(sizes))) == [(200, True, True)] * 100


def test_a_body_that_needs_more_drips_than_its_beginning_may_have(squid: Squid, origin: Origin) -> None:
    """Squid stalls after every three megabytes: without an allowance that grows, this one came to a hundred."""
    body = clean_bytes(200 * MIB)
    answer = fetch(squid.port, origin.serve("/long/larger", Page(body)))
    assert (answer.status, answer.is_whole, answer.body == body) == (200, True, True)


@pytest.mark.parametrize("size", [*SIZES, *LARGE])
def test_no_bad_body_arrives_whole(squid: Squid, origin: Origin, size: int) -> None:
    body = zip_with_eicar(size)
    url = origin.serve(f"/long/bad/{size}", Page(body))
    answer = fetch(squid.port, url)
    if not is_block_page(answer):
        assert not answer.is_whole
        assert len(answer.body) < len(body) / 2
        assert all(is_block_page(fetch(squid.port, url)) for _ in range(8)), "whichever front it comes to"
