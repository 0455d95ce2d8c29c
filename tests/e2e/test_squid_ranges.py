"""A browser asks Squid for parts of files: where parts are blocked, the whole comes; where not, the part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.eicar import EICAR
from tests.support.fetch import Answer, fetch
from tests.support.icapd import Icapd
from tests.support.origin import Origin, Page
from tests.support.squid import Squid

BODY = bytes(range(256)) * 40


@pytest.fixture(scope="module", params=["strict", "strict-as-is", "balanced"])
def through(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Squid]]:
    """Squid with services of this policy; `strict-as-is` leaves Range in requests."""
    name = request.param
    extra = {"strip_range": False} if name == "strict-as-is" else {}
    services: list[dict[str, Any]] = [
        {
            "path": f"/{kind}",
            "methods": [kind.upper()],
            "profile": "squid",
            "policy": name.removesuffix("-as-is"),
            **extra,
        }
        for kind in ("reqmod", "respmod")
    ]
    with (
        Icapd(tmp_path_factory.mktemp("icapd"), {"service": services}) as icapd,
        Squid(reqmod=icapd.url("/reqmod"), respmod=icapd.url("/respmod")) as running,
    ):
        yield name, running


def part(squid: Squid, origin: Origin, path: str, body: bytes, asked: str) -> Answer:
    url = origin.serve(f"{path}/{squid.port}", Page(body, has_ranges=True))
    return fetch(squid.port, url, headers={"Range": f"bytes={asked}", "If-Range": '"x"'})


def test_a_part_is_the_whole_a_page_or_the_part(through: tuple[str, Squid], origin: Origin) -> None:
    name, squid = through
    answer = part(squid, origin, "/part", BODY, "256-511")
    if name == "strict":
        assert (answer.status, answer.body) == (200, BODY)
    elif name == "strict-as-is":
        assert (answer.status, answer.headers.get("cache-control")) == (403, "no-store")
    else:
        assert (answer.status, answer.body) == (206, BODY[256:512])


def test_malware_in_halves_is_only_seen_whole(through: tuple[str, Squid], origin: Origin) -> None:
    name, squid = through
    half = len(EICAR) // 2
    answer = part(squid, origin, "/halves", EICAR, f"0-{half}")
    assert answer.status == (206 if name == "balanced" else 403)
