"""Shadow mode in a running server: another configuration is tried beside the one in force, and changes no answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Serve
from tests.process.reloading import MARK, reload
from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, front_pids, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.gates import open_gate
from tests.support.icapd import ICAPD, Icapd, Table, environment, merged, to_toml
from tests.support.process import wait_until
from tests.support.tree import children

BLOCK_ORIGIN = [{"name": "no-origin", "when": {"host": "origin.test"}, "action": "block"}]
NO_PUPPET: Table = {"engines": {"puppet": {"enabled": False}}}


def trying(tmp_path: Path, next_tables: Table, **shadow: Any) -> dict[str, Any]:
    """What makes a server try another configuration on everything."""
    path = tmp_path / "next.toml"
    path.write_text(to_toml(merged(EICAR_RULE_ALONE, next_tables)))
    return {"shadow": {"config": str(path), "share": 1.0, **shadow}}


def command(server: Icapd, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [ICAPD, "shadow", "report", "--admin", server.admin_url, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, env=environment(), check=False)


def report(server: Icapd) -> dict[str, Any]:
    done = command(server, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def tried(server: Icapd, change: str, times: int) -> dict[str, Any]:
    """The report, once so many transactions have been tried with this outcome."""

    def has_come() -> bool:
        hurry(server)
        return server.metric("icapd_shadow_total", change=change) >= times

    wait_until(has_come, f"{times} x {change}")
    return report(server)


def hurry(server: Icapd) -> None:
    """Lets trials run among other tests, which would leave them no time: they take only what nobody else wants."""
    for nursery in nurseries(server):
        for pid in (nursery, *children(nursery)):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def difference(change: str, now: str, then: str, times: int, host: str = "origin.test") -> dict[str, Any]:
    (rule, action), (shadow_rule, shadow_action) = now.split(), then.split()
    return {
        "change": change,
        "rule": rule,
        "action": action,
        "shadow_rule": shadow_rule,
        "shadow_action": shadow_action,
        "host": host,
        "times": times,
    }


def test_a_policy_is_tried_and_changes_no_answer(serve: Serve, tmp_path: Path) -> None:
    server = serve(trying(tmp_path, {"policy": BLOCK_ORIGIN}))
    assert [ask(server, CLEAN).status for _ in range(3)] == [204, 204, 204]
    assert ask(server, EICAR).http_status == 403
    tried(server, "same", 1)
    said = tried(server, "blocks", 3)
    assert said["transactions"] == {"blocks": 3, "same": 1}
    assert said["differences"] == [difference("blocks", "clean allow", "no-origin block", 3)]
    assert "icapd_shadow_differences" not in server.admin("/metrics")[1]
    wait_until(lambda: "shadow-difference" in server.child.output(), "the first of its kind is in the event log")


def test_what_would_be_released_is_told_in_a_table(serve: Serve, tmp_path: Path) -> None:
    server = serve({"policy": BLOCK_ORIGIN, **trying(tmp_path, {})})
    assert ask(server, CLEAN).http_status == 403
    said = tried(server, "releases", 1)
    assert said["differences"] == [difference("releases", "no-origin block", "not-scanned allow", 1)]
    text = command(server).stdout.splitlines()
    assert "is tried on 1 of all transactions" in text[0]
    assert text[-2].split() == ["change", "rule", "now", "rule", "then", "host", "times"]
    assert text[-1].split() == ["releases", "no-origin", "(block)", "not-scanned", "(allow)", "origin.test", "1"]


def test_other_rules_are_tried_in_scanners_of_their_own(serve: Serve, tmp_path: Path) -> None:
    rule = tmp_path / "mark.yar"
    rule.write_text(f'rule marked {{ strings: $mark = "{MARK.decode()}" condition: $mark }}\n')
    server = serve(trying(tmp_path, {"engines": {"yara": {"rules": [str(rule)]}}}))
    wait_until(lambda: len(nurseries(server)) == 2, "a nursery for the rules that are tried")
    policies = sorted(os.sched_getscheduler(pid) for pid in nurseries(server))
    assert policies == [os.SCHED_OTHER, os.SCHED_IDLE]
    for _ in range(2):
        assert verdict(ask(server, MARK)) == "CLEAN"
        assert verdict(ask(server, EICAR)) == "MALICIOUS"
    tried(server, "releases", 2)
    said = tried(server, "blocks", 2)
    assert said["differences"] == [
        difference("blocks", "clean allow", "malicious block", 2),
        difference("releases", "malicious block", "clean allow", 2),
    ]


def nurseries(server: Icapd) -> list[int]:
    return [nursery for front in front_pids(server) for nursery in children(front)]


def test_bodies_past_the_limit_are_counted_as_not_tried(serve: Serve, tmp_path: Path) -> None:
    next_tables = {"engines": {"yara": {"timeout_s": 7.0}}}
    server = serve(trying(tmp_path, next_tables, max_body_bytes=1000))
    assert ask(server, b"x" * 1000).status == 204
    tried(server, "same", 1)
    assert ask(server, b"x" * 1001).status == 204
    assert tried(server, "dropped", 1)["transactions"] == {"same": 1, "dropped": 1}


def test_a_busy_trial_drops_and_nobody_waits_for_it(serve: Serve, tmp_path: Path) -> None:
    server = serve(merged(NO_PUPPET, trying(tmp_path, {}, queue_tasks=1)))
    assert ask(server, order("wait", "shadow-room")).status == 204
    for number in range(3):
        assert ask(server, CLEAN + bytes([number])).status == 204
    assert tried(server, "dropped", 3)["transactions"] == {"dropped": 3}
    open_gate("shadow-room")
    tried(server, "same", 1)
    assert ask(server, CLEAN + b"again").status == 204
    tried(server, "same", 2)


def test_a_scanner_that_dies_in_a_trial_is_a_failed_trial(serve: Serve, tmp_path: Path) -> None:
    server = serve(merged(NO_PUPPET, trying(tmp_path, {})))
    assert ask(server, order("abort")).status == 204
    tried(server, "failed", 1)
    assert ask(server, CLEAN).status == 204
    tried(server, "same", 1)
    assert server.metric("icapd_scanner_deaths_total") == 0


def test_a_reload_tries_the_next_file_and_begins_to_count_anew(serve: Serve, tmp_path: Path) -> None:
    server = serve(trying(tmp_path, {"policy": BLOCK_ORIGIN}))
    ask(server, CLEAN)
    before = tried(server, "blocks", 1)
    other = [{**BLOCK_ORIGIN[0], "name": "other"}]
    trying(tmp_path, {"policy": other})
    assert reload(server).result == "reloaded"
    ask(server, CLEAN)
    after = tried(server, "blocks", 2)
    assert before["configuration"] != after["configuration"]
    assert after["differences"] == [difference("blocks", "clean allow", "other block", 1)]
    (tmp_path / "next.toml").write_text("[server]\npolicy = 'none'\n")
    failed = reload(server)
    assert failed.result == "failed"
    assert failed.problems[0][0] == "shadow.config: server.policy"


def test_only_the_share_is_tried_and_nothing_without_a_configuration(serve: Serve, tmp_path: Path) -> None:
    server = serve(trying(tmp_path, {}, share=1e-9))
    assert [ask(server, CLEAN).status for _ in range(20)] == [204] * 20
    assert report(server)["transactions"] == {}
    plain = serve()
    ask(plain, CLEAN)
    assert report(plain)["configuration"] == ""
    assert "Nothing is tried" in command(plain).stdout
    plain.stop()
    gone = command(plain)
    assert gone.returncode == 3
    assert "no server with the admin address" in gone.stderr


@pytest.mark.parametrize("arguments", [["shadow"], ["shadow", "report", "--timeout", "0"]])
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    done = subprocess.run([ICAPD, *arguments], capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
