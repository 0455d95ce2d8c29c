"""The server with a real clamd beside its scanners: verdicts, failures, and signatures that change."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Serve
from tests.process.reloading import reload
from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, verdict
from tests.support.c_icap_clamd import ScanningCIcap
from tests.support.clamd import MARK, NAME, Clamd
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, Icapd, environment, merged, to_toml
from tests.support.process import wait_until

QUICK: dict[str, Any] = {"probe_s": 0.2, "retry_s": 0.2, "connect_timeout_s": 0.5}


@pytest.fixture
def clamd(tmp_path: Path) -> Iterator[Clamd]:
    with Clamd(tmp_path / "clamd") as running:
        yield running


def beside(clamd: Clamd, **options: Any) -> dict[str, Any]:
    return {"engines": {"clamd": {"enabled": True, "address": clamd.unix, **QUICK, **options}}}


def test_other_icap_servers_are_engines_of_several(serve: Serve, clamd: Clamd, tmp_path: Path) -> None:
    """Two tables: one service that finds nothing, and under a name of its own one that scans."""
    with ScanningCIcap(tmp_path / "c-icap", clamd) as c_icap:
        more = {"engine": "icap", "enabled": True, "url": c_icap.url("avscan"), **QUICK}
        first = {"enabled": True, "url": c_icap.url("echo"), **QUICK}
        server = serve({"engines": {"icap": first, "second-opinion": more}})
        found = ask(server, MARK)
        assert (verdict(found), found.http_status) == ("MALICIOUS", 403)
        assert NAME in (found.header("X-Infection-Found") or "")
        assert verdict(ask(server, CLEAN)) == "CLEAN"
        for name in ("icap", "second-opinion"):
            assert server.metric("icapd_remote_engine_up", engine=name) == 1
            assert server.metric("icapd_remote_scan_seconds_count", engine=name) == 2
    assert verdict(ask(server, b"harmless")) == "ERROR"


def istag(server: Icapd) -> str:
    with IcapClient(server.address) as client:
        return client.options("/scan").header("ISTag") or ""


def left_alone(server: Icapd) -> float:
    return server.metric("icapd_remote_engine_left_alone", engine="clamd")


def test_what_clamd_finds_is_blocked_and_named(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd))
    found = ask(server, MARK)
    assert (verdict(found), found.http_status) == ("MALICIOUS", 403)
    assert NAME in (found.header("X-Infection-Found") or "")
    assert verdict(ask(server, CLEAN)) == "CLEAN"
    assert verdict(ask(server, MARK, "/echo")) == "NOT_SCANNED"
    assert server.metric("icapd_remote_engine_up", engine="clamd") == 1
    assert server.metric("icapd_remote_scan_seconds_count", engine="clamd") == 2


def test_clamd_by_the_name_of_its_host(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd, address=f"tcp://localhost:{clamd.port}"))
    assert verdict(ask(server, MARK)) == "MALICIOUS"
    assert server.metric("icapd_remote_engine_up", engine="clamd") == 1


def test_a_service_without_it_does_not_ask_it(serve: Serve, clamd: Clamd) -> None:
    services = [{"path": "/with", "engines": ["yara", "clamd"]}, {"path": "/without", "engines": ["yara"]}]
    server = serve({**beside(clamd), "service": services})
    assert verdict(ask(server, MARK, "/without")) == "CLEAN"
    assert verdict(ask(server, MARK, "/with")) == "MALICIOUS"
    clamd.kill()
    assert verdict(ask(server, b"harmless", "/without")) == "CLEAN"
    assert verdict(ask(server, b"harmless", "/with")) == "ERROR"


@pytest.mark.parametrize(("required", "expected"), [(True, "ERROR"), (False, "CLEAN")])
def test_without_clamd_nothing_waits_for_it_until_it_is_back(
    serve: Serve, clamd: Clamd, required: bool, expected: str
) -> None:
    server = serve(beside(clamd, required=required))
    clamd.kill()
    first = ask(server, b"one")
    assert verdict(first) == expected
    wait_until(lambda: left_alone(server) == 1, "clamd is left alone")
    assert verdict(ask(server, b"two")) == expected
    assert server.metric("icapd_remote_engine_up", engine="clamd") == 0
    assert server.admin("/readyz")[0] == 200
    clamd.start()
    wait_until(lambda: left_alone(server) == 0, "clamd is asked again")
    assert verdict(ask(server, MARK)) == "MALICIOUS"
    assert verdict(ask(server, b"one")) == "CLEAN"  # the failure was not remembered
    assert "left alone" in server.logs()


def test_a_hanging_clamd_is_left_alone_and_frees_who_waits(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd, failures_before_rest=1))
    assert verdict(ask(server, CLEAN)) == "CLEAN"
    clamd.hang()
    assert verdict(ask(server, b"harmless")) == "ERROR"  # long before scan_s
    wait_until(lambda: left_alone(server) == 1, "clamd is left alone")
    assert verdict(ask(server, b"another")) == "ERROR"
    clamd.resume()
    wait_until(lambda: left_alone(server) == 0, "clamd is asked again")
    assert verdict(ask(server, MARK)) == "MALICIOUS"


def test_malware_that_a_scanner_found_does_not_wait_for_clamd(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd))
    clamd.hang()
    assert verdict(ask(server, EICAR)) == "MALICIOUS"
    clamd.resume()


def test_new_signatures_are_another_istag_and_old_verdicts_are_of_no_use(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd) | {"server": {"fronts": 2}})
    before = istag(server)
    assert verdict(ask(server, b"mark of tomorrow")) == "CLEAN"
    assert verdict(ask(server, b"mark of tomorrow")) == "CLEAN"
    clamd.kill()
    clamd.write_signatures(2, {"Local.Tomorrow": b"mark of tomorrow"})
    assert istag(server) == before  # nothing is known to have changed
    clamd.start()
    wait_until(lambda: istag(server) != before, "the ISTag changes")
    assert {istag(server) for _ in range(20)} == {istag(server)}
    for _ in range(10):  # both fronts
        assert verdict(ask(server, b"mark of tomorrow")) == "MALICIOUS"
    assert istag(server).strip('"') in server.admin("/metrics")[1]


def test_the_same_signatures_are_the_same_istag_in_every_server(serve: Serve, clamd: Clamd) -> None:
    first, second = serve(beside(clamd)), serve(beside(clamd))
    assert istag(first) == istag(second)


def test_files_are_shown_to_clamd_too(clamd: Clamd, tmp_path: Path) -> None:
    configuration, file = tmp_path / "icapd.toml", tmp_path / "file"
    configuration.write_text(to_toml(merged(EICAR_RULE_ALONE, beside(clamd))))
    command = [ICAPD, "scan", "--config", str(configuration), str(file)]
    for content, expected in ((MARK, NAME), (CLEAN, "CLEAN")):
        file.write_bytes(content)
        shown = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
        assert expected in shown.stdout, shown


def test_a_reload_switches_it_on_and_off(serve: Serve, clamd: Clamd) -> None:
    server = serve(beside(clamd, enabled=False))
    assert verdict(ask(server, MARK)) == "CLEAN"
    plain = istag(server)
    text = server.configuration.read_text()
    server.configuration.write_text(re.sub(r"(?m)^enabled = false$", "enabled = true", text))
    assert reload(server).result == "reloaded"
    assert verdict(ask(server, MARK)) == "MALICIOUS"
    wait_until(lambda: istag(server) != plain, "the ISTag changes")
    clamd.kill()
    assert verdict(ask(server, b"harmless")) == "ERROR"
    wait_until(lambda: left_alone(server) == 1, "clamd is left alone")
    server.configuration.write_text(text)
    assert reload(server).result == "reloaded"
    assert verdict(ask(server, MARK)) == "CLEAN"
    assert istag(server) == plain
    assert left_alone(server) == 0
