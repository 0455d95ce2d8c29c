"""`icapd cache`: beside a running server and a stopped one, with and without memcached."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from icapd.cache.directory import close_store, open_store, prepare_directory
from icapd.cache.record import Signer, memcached_key
from icapd.cache.store import Entry, Pending, entry_name
from icapd.scan.model import CacheKey, ScanReport
from tests.cache.samples import cache_key, clean_report, malicious_report
from tests.cli.command import Ended, icapd
from tests.process.servers import CLEAN, ask, verdict
from tests.support.icapd import Icapd
from tests.support.memcached import Memcached
from tests.support.ports import free_port

MAX_BYTES = 16 * 1024 * 1024
MALICIOUS = cache_key("malicious", size_bytes=99, coding="gzip")


class Cached:
    """A configuration with a disk tier and a secret, and what lies in it."""

    def __init__(self, folder: Path, servers: list[str]) -> None:
        self.directory = folder / "cache"
        self.configuration = folder / "icapd.toml"
        secret = folder / "secret"
        secret.write_bytes(bytes(range(32)))
        secret.chmod(0o600)
        self.configuration.write_text(
            f'[server]\nadmin = "http://127.0.0.1:{free_port()}"\n'
            f'[cache]\nsecret_file = "{secret}"\n'
            f'[cache.disk]\ndirectory = "{self.directory}"\nmax_bytes = {MAX_BYTES}\n'
            f"[cache.memcached]\nservers = {json.dumps(servers)}\n"
        )
        self.signer = Signer(secret.read_bytes())

    def store(self, key: CacheKey, report: ScanReport, signer: Signer | None = None) -> None:
        prepare_directory(self.directory, with_secret=False)
        expires_at_s = int(time.time()) + 600
        record = (signer or self.signer).seal(key, report, expires_at_s)
        opened = open_store(self.directory, MAX_BYTES, print)
        entry = Entry(expires_at_s, key.size_bytes, key.ruleset, key.coding, record)
        opened.store.write([Pending(entry_name(key), opened.store.generation(), entry)])
        close_store(self.directory, opened)

    def run(self, action: str, *arguments: str) -> Ended:
        return icapd("cache", action, *arguments, "--config", self.configuration)

    def json(self, action: str, *arguments: str) -> Any:
        return json.loads(self.run(action, *arguments, "--json").out)


@pytest.fixture
def cached(tmp_path: Path) -> Cached:
    cached = Cached(tmp_path, [])
    cached.store(cache_key("clean"), clean_report())
    cached.store(MALICIOUS, malicious_report())
    return cached


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[Memcached]:
    running = Memcached(tmp_path)
    yield running
    running.kill()


def test_stats_of_a_stopped_server(cached: Cached) -> None:
    ended = cached.run("stats")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"disk       {cached.directory}"
    assert lines[1].startswith("  2 verdicts in ")
    assert lines[3] == "  ruleset r1: 2"
    assert lines[-1].startswith("server     none answers")
    stats = cached.json("stats")
    assert (stats["disk"]["entries"], stats["disk"]["rulesets"], stats["server"]) == (2, {"r1": 2}, None)


def test_stats_before_the_first_start_makes_nothing(tmp_path: Path) -> None:
    cached = Cached(tmp_path, [])
    assert cached.json("stats")["disk"]["entries"] == 0
    assert not cached.directory.exists()


def test_get_tells_verdict_findings_and_life(cached: Cached) -> None:
    ended = cached.run("get", MALICIOUS.sha256.hex())
    assert (ended.status, ended.err) == (0, "")
    head, finding = ended.out.splitlines()
    assert head.startswith("MALICIOUS, 99 bytes; disk, ruleset r1, coding gzip; ends in ")
    assert finding == "  Test.Signature (malware, critical), found by yara in a.zip / b.exe"
    [found] = cached.json("get", MALICIOUS.sha256.hex().upper())
    assert (found["tier"], found["report"]["verdict"], found["refused"]) == ("disk", "MALICIOUS", "")


def test_get_of_an_unknown_content_is_status_1(cached: Cached) -> None:
    assert cached.run("get", "00" * 32) == (1, "nothing is known of this content\n", "")
    assert cached.json("get", "00" * 32) == []


def test_get_does_not_believe_what_another_secret_signed(cached: Cached) -> None:
    key = cache_key("forged")
    cached.store(key, clean_report(), Signer(b"x" * 32))
    ended = cached.run("get", key.sha256.hex())
    assert (ended.status, ended.out) == (1, "not believed: signature; disk, ruleset r1\n")


@pytest.mark.parametrize("digest", ["", "ab", "g" * 64, "00" * 33])
def test_get_wants_a_sha256(cached: Cached, digest: str) -> None:
    ended = cached.run("get", digest)
    assert ended.status == 2
    assert "64 hexadecimal digits" in ended.err


def test_purge_forgets_everything(cached: Cached) -> None:
    ended = cached.run("purge")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "disk       2 verdicts forgotten",
        "memory     running fronts forget theirs within a second",
    ]
    stats = cached.json("stats")["disk"]
    assert (stats["entries"], stats["purges"]) == (0, 1)
    assert cached.json("purge") == {"disk_entries": 0, "memory": True, "memcached": []}


def test_memcached_is_asked_under_the_keys_that_are_known(tmp_path: Path, memcached: Memcached) -> None:
    cached = Cached(tmp_path, [memcached.address])
    cached.store(MALICIOUS, malicious_report())
    record = cached.signer.seal(MALICIOUS, malicious_report(), int(time.time()) + 600)
    with memcached.client() as client:
        client.set(memcached_key(MALICIOUS), record)
    assert [found["tier"] for found in cached.json("get", MALICIOUS.sha256.hex())] == ["disk", memcached.address]
    [server] = cached.json("stats")["memcached"]
    assert (server["items"], server["error"]) == (1, "")


def test_with_its_size_a_content_is_found_on_memcached_alone(tmp_path: Path, memcached: Memcached) -> None:
    cached = Cached(tmp_path, [memcached.address])
    checked = icapd("config", "check", cached.configuration).out.splitlines()
    [ruleset] = [line.split()[1] for line in checked if line.startswith("ruleset")]
    key = cache_key("elsewhere", size_bytes=4711, ruleset=ruleset)
    with memcached.client() as client:
        client.set(memcached_key(key), cached.signer.seal(key, malicious_report(), int(time.time()) + 600))
    assert cached.run("get", key.sha256.hex()).status == 1
    assert cached.run("get", key.sha256.hex(), "--size", "4710").status == 1
    ended = cached.run("get", key.sha256.hex(), "--size", "4711")
    assert ended.status == 0
    assert ended.out.startswith(f"MALICIOUS, 4711 bytes; {memcached.address}, ruleset {ruleset}; ends in ")


def test_purge_says_what_it_did_not_reach_and_empties_memcached_when_told_to(
    tmp_path: Path, memcached: Memcached
) -> None:
    cached = Cached(tmp_path, [memcached.address])
    with memcached.client() as client:
        client.set("key", "of somebody else")
        assert "memcached  not reached" in cached.run("purge").out
        assert client.get("key") is not None
        ended = cached.run("purge", "--memcached")
        assert (ended.status, ended.out.splitlines()[-1]) == (0, f"memcached  {memcached.address}: emptied")
        assert client.get("key") is None


def test_a_dead_memcached_is_told_and_is_status_3(tmp_path: Path) -> None:
    cached = Cached(tmp_path, [f"127.0.0.1:{free_port()}"])
    for arguments in (("stats",), ("purge", "--memcached"), ("get", "00" * 32, "--size", "4")):
        ended = cached.run(*arguments)
        assert ended.status == 3
        assert "refused" in ended.out + ended.err


def test_memory_alone_is_beyond_these_commands() -> None:
    ended = icapd("cache", "stats")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("cache: has neither a disk.directory nor memcached.servers")


def test_without_a_disk_tier_purge_says_that_memory_was_not_reached(tmp_path: Path, memcached: Memcached) -> None:
    cached = Cached(tmp_path, [memcached.address])
    text = cached.configuration.read_text().replace("directory = ", "#directory = ")
    cached.configuration.write_text(text)
    lines = cached.run("purge", "--memcached").out.splitlines()
    assert lines[0].startswith("memory     not reached")
    assert lines[1] == f"memcached  {memcached.address}: emptied"


def test_another_users_directory_is_left_alone(cached: Cached) -> None:
    if os.geteuid() != 0:
        cached.directory.chmod(0o000)
        assert cached.run("stats").status == 3
        cached.directory.chmod(0o700)
        return
    os.chown(cached.directory, 4242, 4242)
    ended = cached.run("purge")
    assert (ended.status, ended.out) == (3, "")
    assert "belongs to user 4242: run this command as that user" in ended.err


def test_beside_a_running_server(tmp_path: Path) -> None:
    tables = {"engines": {"yara": {"rules": ["conf/rules/eicar.yar"]}}}
    with Icapd(tmp_path, {**tables, "cache": {"disk": {"directory": str(tmp_path / "cache")}}}) as server:

        def run(action: str, *arguments: str) -> Ended:
            return icapd("cache", action, *arguments, "--config", server.configuration)

        assert verdict(ask(server, CLEAN)) == "CLEAN"
        assert verdict(ask(server, CLEAN)) == "CLEAN"
        digest = hashlib.sha256(CLEAN).hexdigest()
        server.child.wait_until(lambda: run("get", digest).status == 0, "the verdict is on disk")
        stats = json.loads(run("stats", "--json").out)
        assert (stats["disk"]["entries"], stats["server"]["memory"]["hits"]) == (1, 1)
        assert stats["server"]["disk"]["misses"] == 1
        assert stats["server"]["disk"]["mean_lookup_us"] > 0

        assert run("purge").status == 0
        server.child.wait_until(
            lambda: server.metric("icapd_cache_entries", tier="memory") == 0, "the front has forgotten"
        )
        ask(server, CLEAN)
        assert [line["cache"] for line in server.access_lines(3)] == ["miss", "memory", "miss"]
        assert "cache-disk-state" not in server.child.output()
