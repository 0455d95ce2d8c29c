"""`icapd policy explain`, and what `config check` warns of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icapd.cli.arguments import _OUTCOMES, _VERDICTS
from icapd.policy.outcomes import Result
from icapd.scan.model import Verdict
from tests.cli.command import EICAR_RULE_ALONE, icapd

RULES = """
[[policy]]
name = "portal"
when = { host = ".away.example" }
action = "redirect"
location = "https://portal.example/?u={url}"
[[policy]]
name = "lunch"
when = { time = "12:00-13:00", weekday = "mon-fri", user = "alice" }
action = "allow"
[[policy]]
name = "locked"
when = { outcome = "encrypted", group = "Staff" }
action = "monitor"
reason = "Staff may."
[[policy]]
name = "again"
when = { outcome = "encrypted", group = "Staff", user = "bob" }
action = "allow"
[[policy]]
name = "wrong-way"
when = { service = "/reqmod", method = "RESPMOD" }
action = "block"
[[policy]]
name = "tidy"
when = { outcome = "clean", service = "/respmod" }
action = "allow"
add_headers = { X-Scanned = "yes" }
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "icapd.toml"
    path.write_text(RULES)
    return path


def test_the_words_of_the_command_line_are_those_of_policy() -> None:
    assert set(_OUTCOMES) == {result.value for result in Result}
    assert set(_VERDICTS) == {verdict.value for verdict in Verdict}


def test_each_outcome_has_its_line() -> None:
    ended = icapd("policy", "explain", "--set", "server.policy=strict")
    assert (ended.status, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head == "service   /respmod, policy strict"
    answers = {line.split()[0]: line.split()[1:3] for line in lines}
    assert answers.keys() == {result.value for result in Result}
    assert answers["encrypted"] == ["block", "encrypted"]
    assert answers["engine-absent"] == ["block", "engine-absent"]


def test_one_request_is_explained_in_full(rules: Path) -> None:
    where = ("--url", "http://h.example/a.zip", "--group", "Staff", "--outcome", "encrypted", "--time", "12:30")
    ended = icapd("policy", "explain", "--config", rules, *where)
    lines = ended.out.splitlines()
    assert lines[:6] == [
        "service   /respmod, policy balanced",
        "described UNSCANNABLE, outcome encrypted",
        "answer    monitor by the rule locked",
        "place     policy[2]",
        "decided   after the scan",
        "outcome   encrypted, as logs, headers and pages show it",
    ]
    assert lines[6] == "reason    Staff may."
    assert "  policy[0] portal (redirect): method, host" in lines
    assert any(line.startswith("  policy[1] lunch (allow): ") and "user" in line for line in lines)
    assert ended.err.splitlines() == [
        "warning: policy[3]: the rule again never decides: policy[2] (locked) always holds before it",
        "warning: policy[4]: the rule wrong-way never decides: its service takes no RESPMOD",
        "warning: service[0].drip_on_stall: rules edit the heads of responses, so nothing drips: Squid before 6.14 "
        "may hang on large ones",
        "warning: service[2].drip_on_stall: rules edit the heads of responses, so nothing drips: Squid before 6.14 "
        "may hang on large ones",
    ]


def test_what_the_heads_decide_needs_no_outcome(rules: Path) -> None:
    asked = ("--service", "/reqmod", "--url", "http://x.away.example/a", "--outcome", "malicious", "--json")
    ended = icapd("policy", "explain", "--config", rules, *asked)
    said = json.loads(ended.out)
    [answer] = said["answers"]
    assert (answer["rule"], answer["action"], answer["early"], answer["place"]) == (
        "portal",
        "redirect",
        True,
        "policy[0]",
    )
    assert (answer["described"], answer["outcome"]) == ("malicious", "forbidden")
    assert len(said["warnings"]) == 4


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (("--user", "WinNT://CORP/alice", "--weekday", "fri", "--time", "12:59"), "lunch"),
        (("--user", "alice", "--weekday", "sat", "--time", "12:30"), "tidy"),
        (("--user", "alice", "--weekday", "fri", "--time", "13:00"), "tidy"),
    ],
)
def test_the_time_is_what_was_asked(rules: Path, asked: tuple[str, ...], rule: str) -> None:
    ended = icapd("policy", "explain", "--config", rules, "--verdict", "clean", "--json", *asked)
    assert json.loads(ended.out)["answers"][0]["rule"] == rule


@pytest.mark.parametrize(
    ("findings", "described", "rule"),
    [
        (("--finding", "suspicious=macro", "--severity", "low"), "suspicious", "suspicious"),
        (("--finding", "Some.Virus"), "malicious", "malicious"),
        (("--finding", "encrypted", "--finding", "limit=archive.max_depth"), "limit", "limit"),
        (("--outcome", "timed-out", "--finding", "timeout:yara"), "timed-out", "timeout"),
        (("--finding", "malware", "--severity", "info"), "clean", "tidy"),
    ],
)
def test_findings_make_a_verdict(rules: Path, findings: tuple[str, ...], described: str, rule: str) -> None:
    ended = icapd("policy", "explain", "--config", rules, "--json", "--time", "20:00", *findings)
    [answer] = json.loads(ended.out)["answers"]
    assert (answer["described"], answer["rule"]) == (described, rule)


def test_a_service_that_does_not_scan_has_one_outcome() -> None:
    ended = icapd("policy", "explain", "--service", "/echo", "--outcome", "malicious", "--json")
    [answer] = json.loads(ended.out)["answers"]
    assert (answer["outcome"], answer["action"]) == ("not-scanned", "allow")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--service", "/none"), "--service: there is no service /none; there are /respmod"),
        (("--service", "/reqmod", "--method", "RESPMOD"), "--method: /reqmod takes REQMOD"),
        (("--outcome", "locked"), "invalid choice: 'locked'"),
        (("--time", "25:00"), "wants a number from 0 to 23"),
        (("--time", "noon"), "wants HH:MM"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: tuple[str, ...], what: str) -> None:
    ended = icapd("policy", "explain", *arguments)
    assert ended.status == 2
    assert what in ended.err


def test_config_check_warns_and_finds_no_problem(rules: Path) -> None:
    ended = icapd("config", "check", rules, *EICAR_RULE_ALONE)
    assert ended.status == 0
    assert "warning: policy[3]: the rule again never decides" in ended.err
    assert ended.out.startswith(f"{rules}: no problems\n")
