"""A link past a rule through a real Squid: REQMOD takes its token, RESPMOD knows of it, the origin hears nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.net.test_override import RULES, SEALED, SECRET
from tests.support.fetch import Answer, fetch
from tests.support.icapd import Icapd
from tests.support.origin import Origin, Page
from tests.support.squid import Squid

KEPT_FROM_ORIGINS = "request_header_access X-Icapd-Override deny all\n"
AS_JSON = {"Accept": "application/json"}


def link_of(answer: Answer) -> str:
    assert answer.status == 403
    return str(json.loads(answer.body)["override_url"])


@pytest.mark.parametrize("extra", ["", KEPT_FROM_ORIGINS], ids=["header-passes", "header-removed"])
def test_a_link_leads_past_both_vectoring_points(tmp_path: Path, origin: Origin, extra: str) -> None:
    secret = tmp_path / "override.secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    sealed = origin.serve("/sealed.zip?a=b", Page(SEALED, media_type="application/zip"))
    joke = origin.serve("/joke", Page(b"ha", media_type="text/plain"))
    tables = {"policy": RULES, "pages": {"override_secret_file": str(secret)}}
    with (
        Icapd(tmp_path / "icapd", tables) as icapd,
        Squid(reqmod=icapd.url("/reqmod"), respmod=icapd.url("/respmod"), extra=extra) as squid,
    ):
        for url, path, body in ((sealed, "/sealed.zip?a=b", SEALED), (joke, "/joke", b"ha")):
            link = link_of(fetch(squid.port, url, headers=AS_JSON))
            answer = fetch(squid.port, link)
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["cache-control"] == "no-store"
            assert origin.requests(path)
            assert not origin.requests(link.partition(str(origin.port))[2])
            assert fetch(squid.port, url).status == 403
            forged = link[:-1] + ("A" if link[-1] != "A" else "B")
            assert fetch(squid.port, forged).status == 403
