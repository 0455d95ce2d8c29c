"""A scan that crashes, hangs or fails is answered as policy says, in time, and hurts no other request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, trees, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.icapd import Icapd

SCAN_S = 1.5
MARGIN_S = 1.5
"""What a busy machine may add."""

CRASHES = [("abort", ""), ("segv", ""), ("exit", "0"), ("wrong-kind", "")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    overrides = {
        "engines": {**EICAR_RULE_ALONE["engines"], "archive": {"max_unpacked_bytes": 128 * 1024 * 1024}},
        "timeouts": {"scan_s": SCAN_S, "scan_grace_s": 0.25},
        "service": [{"path": "/scan"}, {"path": "/open", "policy": "open"}],
        "scanners": {"memory_bytes": 256 * 1024 * 1024},
    }
    with Icapd(tmp_path_factory.mktemp("failing"), overrides) as running:
        yield running


def next_requests_work(server: Icapd) -> None:
    for number in range(4):
        assert verdict(ask(server, CLEAN + b"%d" % number)) == "CLEAN"
    assert verdict(ask(server, EICAR)) == "MALICIOUS"


@pytest.mark.parametrize(("word", "argument"), CRASHES)
def test_a_crash_is_blocked_by_balanced(server: Icapd, word: str, argument: str) -> None:
    body = order(word, argument)
    reply = ask(server, body)

    assert (reply.status, reply.http_status, verdict(reply)) == (200, 403, "UNSCANNABLE")
    assert "rule=limit" in (reply.header("X-Response-Info") or "")
    assert (reply.header("X-Infection-Found") or "").startswith("Type=2;")  # no infection, says the definition
    assert reply.header("X-Virus-ID") is None
    assert body not in reply.body
    next_requests_work(server)


@pytest.mark.parametrize(("word", "argument"), CRASHES)
def test_a_crash_passes_by_open_and_is_recorded(server: Icapd, word: str, argument: str) -> None:
    body = order(word, argument, 300 * 1024)
    reply = ask(server, body, "/open", allow="")

    assert (reply.status, reply.http_status, verdict(reply)) == (200, 200, "UNSCANNABLE")
    assert reply.body == body
    assert "action=monitor" in (reply.header("X-Response-Info") or "")
    [*_, line] = server.access_lines(1, service="/open", verdict="UNSCANNABLE")
    assert (line["action"], line["findings"]) == ("monitor", ["scanners-lost"])
    next_requests_work(server)


def test_a_crash_on_open_may_be_answered_by_204(server: Icapd) -> None:
    reply = ask(server, order("abort", "204"), "/open")

    assert (reply.status, verdict(reply)) == (204, "UNSCANNABLE")


def test_the_same_crash_is_no_remembered_fact(server: Icapd) -> None:
    body = order("abort", "again")

    assert [verdict(ask(server, body)) for _ in range(3)] == ["UNSCANNABLE"] * 3
    assert all(line["cache"] == "miss" for line in server.access_lines(3, body_bytes=len(body), service="/scan"))


@pytest.mark.parametrize("word", ["hang", "stop", "eat-and-hang"])
def test_a_hang_is_answered_in_time(server: Icapd, word: str) -> None:
    started = time.monotonic()
    reply = ask(server, order(word))
    took_s = time.monotonic() - started

    assert (reply.http_status, verdict(reply)) == (403, "ERROR")
    assert "rule=timeout" in (reply.header("X-Response-Info") or "")
    assert SCAN_S <= took_s < SCAN_S + MARGIN_S
    next_requests_work(server)


def test_hangs_on_all_scanners_let_others_wait_but_be_served(server: Icapd, tmp_path: Path) -> None:
    gate = tmp_path / "never"
    with ThreadPoolExecutor(5) as asking:
        hung = [asking.submit(ask, server, order("hang", number)) for number in range(2)]
        waiting = [asking.submit(ask, server, order("wait", gate, number + 1)) for number in range(2)]
        assert [verdict(each.result()) for each in (*hung, *waiting)] == ["ERROR"] * 4
    next_requests_work(server)


@pytest.mark.parametrize("word", ["raise", "none", "eat", "object", "surrogate", "leave"])
def test_an_engine_that_fails_is_an_error(server: Icapd, word: str) -> None:
    reply = ask(server, order(word))

    assert (reply.http_status, verdict(reply)) == (403, "UNSCANNABLE" if word == "leave" else "ERROR")
    next_requests_work(server)


def test_a_report_that_is_too_long_keeps_its_verdict(server: Icapd) -> None:
    reply = ask(server, order("verbose"))

    assert (reply.http_status, verdict(reply)) == (403, "MALICIOUS")
    next_requests_work(server)


def test_no_process_is_left_over(server: Icapd) -> None:
    [tree] = trees(server)

    assert len(tree.pids) == 4
    assert server.metric("icapd_internal_errors_total") == 0
