"""Two servers and a real memcached: verdicts are shared, nobody else's are believed, and its end ends nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, verdict
from tests.support.eicar import EICAR
from tests.support.icapd import Icapd
from tests.support.memcached import Memcached
from tests.support.process import wait_until


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[Memcached]:
    running = Memcached(tmp_path)
    yield running
    running.kill()


def keys(memcached: Memcached) -> list[bytes]:
    """What is stored: memcached's own list of its keys."""
    with memcached.client() as client:
        dump = client.raw_command(b"lru_crawler metadump all", end_tokens=b"END\r\n")
    return [
        line.split()[0].removeprefix(b"key=").replace(b"%3A", b":") for line in dump.splitlines() if b"key=" in line
    ]


def source(server: Icapd, body: bytes) -> str:
    """Where the last report on a body of this size came from."""
    [*_, line] = server.access_lines(1, body_bytes=len(body))
    return str(line["cache"])


def test_shared_verdicts(serve: Serve, memcached: Memcached, tmp_path: Path) -> None:
    secret = tmp_path / "cache.secret"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    # 1 s: what is asked is whether a record is believed, not whether a busy machine answers within 50 ms.
    shared = {"servers": [memcached.address], "timeout_s": 1.0}
    one, other = (serve({"cache": {"secret_file": str(secret), "memcached": shared}}) for _ in range(2))

    bodies = {CLEAN: "CLEAN", EICAR: "MALICIOUS"}
    for stored, (body, expected) in enumerate(bodies.items(), 1):
        assert verdict(ask(one, body)) == expected
        assert source(one, body) == "miss"
        wait_until(lambda stored=stored: len(keys(memcached)) == stored, "the verdict is stored")  # type: ignore[misc]
        assert verdict(ask(other, body)) == expected
        assert source(other, body) == "memcached"

    forged = EICAR + b"forged"
    assert verdict(ask(one, forged)) == "MALICIOUS"
    wait_until(lambda: len(keys(memcached)) == 3, "the verdict is stored")
    clean_key, forged_key = (
        next(key for key in keys(memcached) if key.endswith(b":%d" % len(body))) for body in (CLEAN, forged)
    )
    with memcached.client() as intruder:
        intruder.set(forged_key, intruder.get(clean_key))  # a true record, but of another body
    assert verdict(ask(other, forged)) == "MALICIOUS"
    assert source(other, forged) == "miss"

    memcached.kill()
    for number in range(6):
        body = EICAR + b"x" * (100 + number)
        for server in (one, other):
            assert verdict(ask(server, body)) == "MALICIOUS"
            assert source(server, body) == "miss"
