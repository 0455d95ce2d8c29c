"""Two fronts and a directory: what one stores the other finds, a restart keeps it, a killed front loses nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, front_pids, verdict, wait_ready
from tests.support.eicar import EICAR
from tests.support.icap_client import ReplyError
from tests.support.icapd import Icapd
from tests.support.process import wait_until


def serve_with_disk(serve: Serve, directory: Path, memory_bytes: int = 0) -> Icapd:
    """Without memory: what is asked is what the disk has, whichever front a connection comes to."""
    cache = {"memory": {"max_bytes": memory_bytes}, "disk": {"directory": str(directory)}}
    return serve({"server": {"fronts": 2}, "scanners": {"count": 4}, "cache": cache})


def wait_stored(server: Icapd, entries: int) -> None:
    wait_until(lambda: server.metric("icapd_cache_entries", tier="disk") == entries, f"{entries} entries on disk")


def sources(server: Icapd, body: bytes, asked: int = 0, times: int = 20) -> set[str]:
    """Where verdicts on this body come from now, over many connections: those of both fronts.

    Args:
        asked: how often this server was asked about it before; those lines may still be on their way.
    """
    for _ in range(times):
        ask(server, body)
    return {str(line["cache"]) for line in server.access_lines(asked + times, body_bytes=len(body))[asked:]}


def test_fronts_share_the_disk_and_a_restart_keeps_it(serve: Serve, tmp_path: Path) -> None:
    directory = tmp_path / "state" / "cache"
    server = serve_with_disk(serve, directory)
    for stored, (body, expected) in enumerate({CLEAN: "CLEAN", EICAR: "MALICIOUS"}.items(), 1):
        assert verdict(ask(server, body)) == expected
        wait_stored(server, stored)
        assert sources(server, body, asked=1) == {"disk"}
    assert server.metric("icapd_cache_lookups_total", tier="disk", result="hits") == 40

    os.kill(front_pids(server)[0], signal.SIGKILL)
    assert verdict(ask(server, EICAR)) == "MALICIOUS"
    wait_until(lambda: len(front_pids(server)) == 2, "the front is replaced")
    wait_ready(server)
    asked = itertools.count(22, 20)
    wait_until(lambda: sources(server, EICAR, asked=next(asked)) == {"disk"}, "the new front has it open")
    assert server.stop() == 0

    server = serve_with_disk(serve, directory, memory_bytes=1024 * 1024)
    wait_until(
        lambda: server.metric("icapd_cache_stores_total", tier="memory", result="warmed") == 4, "both fronts are warm"
    )
    assert sources(server, EICAR) == {"memory"}
    assert not [line for line in server.child.output().splitlines() if "cache-disk-state" in line]
    assert not (directory / "data.mdb.set-aside").exists()


def test_a_damaged_database_costs_a_line_and_no_request(serve: Serve, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    tables = {"cache": {"memory": {"max_bytes": 0}, "disk": {"directory": str(directory)}}}
    server = serve(tables)
    ask(server, CLEAN)
    wait_stored(server, 1)
    server.stop()
    os.truncate(directory / "data.mdb", 4096 * 5)
    server = serve(tables)
    assert verdict(ask(server, CLEAN)) == "CLEAN"
    wait_until(lambda: '"state":"set aside"' in server.child.output(), "the event")
    wait_until(lambda: verdict(ask(server, CLEAN)) and server.access_lines(cache="disk"), "a fresh database serves")
    assert (directory / "data.mdb.set-aside").exists()


def test_a_database_cut_off_in_use_ends_no_front_again_and_again(serve: Serve, tmp_path: Path) -> None:
    """Who does not read it just then sees it in time; who does ends once, and its successor sets it aside."""
    server = serve_with_disk(serve, tmp_path / "cache")
    database = tmp_path / "cache" / "data.mdb"
    ask(server, CLEAN)
    wait_stored(server, 1)
    os.truncate(database, 4096)
    wait_until(lambda: '"state":"set aside"' in server.child.output(), "nobody reads it, and it is set aside")
    wait_stored(server, 0)
    assert server.metric("icapd_front_deaths_total") == 0

    ask(server, CLEAN)
    wait_stored(server, 1)
    wait_until(lambda: sources(server, EICAR, len(server.access_lines(body_bytes=len(EICAR)))) == {"disk"}, "in use")
    os.truncate(database, 0)
    for number in range(20):
        with contextlib.suppress(ReplyError, ConnectionError):
            ask(server, CLEAN + b"%d" % (number % 5))
    wait_ready(server)
    assert [verdict(ask(server, EICAR)) for _ in range(10)] == ["MALICIOUS"] * 10
    assert server.metric("icapd_front_deaths_total") <= 2


def test_another_start_with_other_rules_misses_at_once(serve: Serve, tmp_path: Path) -> None:
    server = serve_with_disk(serve, tmp_path / "cache")
    ask(server, CLEAN)
    wait_stored(server, 1)
    server.stop()
    rules = tmp_path / "mine.yar"
    rules.write_text('rule Mine { strings: $a = "ordinary" condition: $a }')
    cache = {"memory": {"max_bytes": 0}, "disk": {"directory": str(tmp_path / "cache")}}
    server = serve({"engines": {"yara": {"rules": [str(rules)]}}, "cache": cache})
    wait_stored(server, 1)
    reply = ask(server, CLEAN)
    assert verdict(reply) != "CLEAN"
    assert server.access_lines(1)[0]["cache"] == "miss"
