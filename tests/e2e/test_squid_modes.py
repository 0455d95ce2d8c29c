"""Delivery modes through a real Squid: what is clean arrives whole, what is not never does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.test_squid import KIB, MIB, PIPE, clean_bytes, is_block_page, zip_with_eicar
from tests.support.fetch import fetch
from tests.support.icapd import Icapd
from tests.support.origin import Origin, Page
from tests.support.squid import Squid

MODES = ["stream", "trickle", "auto"]
HOLD_BACK = 64 * KIB


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Icapd, Squid]]:
    """A server whose responses go back by the mode that is asked for, with a Squid before it."""
    mode = request.param
    overrides = {
        "service": [
            {"path": "/reqmod", "methods": ["REQMOD"], "profile": "squid"},
            {"path": "/respmod", "methods": ["RESPMOD"], "profile": "squid", "delivery": mode},
        ],
        "delivery": {"trickle_after_s": 0.02, "trickle_interval_s": 0.02, "hold_back_bytes": HOLD_BACK},
    }
    with (
        Icapd(tmp_path_factory.mktemp(mode), overrides) as icapd,
        Squid(icapd.url("/reqmod"), icapd.url("/respmod")) as squid,
    ):
        yield icapd, squid


@pytest.mark.parametrize("gateway", MODES, indirect=True)
def test_clean_downloads_arrive_whole(gateway: tuple[Icapd, Squid], origin: Origin) -> None:
    _, squid = gateway
    sizes = [PIPE + 1, 200 * KIB, MIB, 5 * MIB, 20 * MIB] * 2
    bodies = [clean_bytes(size, seed=number) for number, size in enumerate(sizes)]
    urls = [origin.serve(f"/modes/{number}", Page(body)) for number, body in enumerate(bodies)]
    with ThreadPoolExecutor(4) as browsers:
        answers = list(browsers.map(lambda url: fetch(squid.port, url), urls))
    assert [(answer.status, answer.is_whole) for answer in answers] == [(200, True)] * len(sizes)
    assert all(answer.body == body for answer, body in zip(answers, bodies, strict=True))


@pytest.mark.parametrize("gateway", MODES, indirect=True)
@pytest.mark.parametrize("filling_bytes", [100, PIPE, 300 * KIB, 3 * MIB])
def test_no_bad_download_arrives_whole(gateway: tuple[Icapd, Squid], origin: Origin, filling_bytes: int) -> None:
    icapd, squid = gateway
    body = zip_with_eicar(filling_bytes)
    url = origin.serve(f"/modes/bad/{filling_bytes}", Page(body))
    answer = fetch(squid.port, url)
    if not is_block_page(answer):
        assert filling_bytes >= PIPE
        assert not answer.is_whole
        assert len(answer.body) <= len(body) - HOLD_BACK
        assert body.startswith(answer.body)
        assert is_block_page(fetch(squid.port, url))
    assert icapd.access_lines(1, outcome="malicious")
