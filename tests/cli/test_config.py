"""`icapd config check` and `config show`, and the wrong configuration under every command."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from icapd.config.load import load
from icapd.errors import ConfigurationError
from icapd.plugins import gather_snapshot, installed_specs
from icapd.worker.planning import make_plan
from tests.cli.command import EICAR_RULE_ALONE, icapd

WRONG = """
[server]
listen = ["http://127.0.0.1"]
colour = "red"
[cache]
ttl_clean_s = -1
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.toml"
    path.write_text(WRONG)
    return path


def test_a_sound_configuration_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "icapd.toml"
    path.write_text(
        '[server]\npolicy = "strict"\n[[policy]]\nname = "mine"\naction = "allow"\nwhen = {host = "a.b"}\n'
    )
    loaded = load(path, installed_specs(), environ={})
    plan = make_plan(
        loaded, gather_snapshot(loaded.settings.engines, loaded.resolve, selection=loaded.settings.selection)
    )
    ended = icapd("config", "check", path)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"{path}: no problems"
    assert lines[1] == "services  5: /respmod /reqmod /scan /avscan /echo"
    assert lines[2] == "policy    strict behind 1 of your own rules"
    assert lines[3].startswith("engines   ")
    assert "yara" in lines[3]
    assert lines[4:] == [f"ruleset   {plan.ruleset}", f"ISTag     {plan.istag}"]


def test_a_scanner_has_room_for_what_it_unpacks() -> None:
    unpacked_bytes = 100 * 1024 * 1024
    overrides = {"engines.archive.max_unpacked_bytes": str(unpacked_bytes)}
    specs = installed_specs()
    load(None, specs, {**overrides, "scanners.memory_bytes": str(unpacked_bytes)}, {})
    with pytest.raises(ConfigurationError) as refused:
        load(None, specs, {**overrides, "scanners.memory_bytes": str(unpacked_bytes - 1)}, {})
    [problem] = refused.value.problems
    assert problem.where == "scanners.memory_bytes"
    assert "engines.archive.max_unpacked_bytes, 104857600" in problem.what
    without = {**overrides, "scanners.memory_bytes": str(unpacked_bytes - 1), "engines.archive.enabled": "false"}
    load(None, specs, without, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's scanners are that user's")
def test_a_user_that_scanners_cannot_run_as_is_a_problem() -> None:
    for user in ("root", "nobody-knows-me"):
        ended = icapd("config", "check", *EICAR_RULE_ALONE, "--set", f"scanners.user={user}")
        assert ended.status == 2
        assert ended.err.startswith("scanners.user")


def test_the_defaults_are_sound() -> None:
    ended = icapd("config", "check")
    assert (ended.status, ended.out.splitlines()[0]) == (0, "The defaults: no problems")


@pytest.mark.parametrize(
    "command",
    [["config", "check"], ["config", "check", "--config"], ["serve", "--config"], ["config", "show", "--config"],
     ["scan", ".", "--config"]],
    ids=" ".join,
)  # fmt: skip
def test_every_problem_has_a_line_with_its_key(command: list[str], wrong: Path) -> None:
    ended = icapd(*command, wrong)
    assert (ended.status, ended.out) == (2, "")
    assert {line.partition(":")[0] for line in ended.err.splitlines()} == {
        "server.listen[0]", "server.colour", "cache.ttl_clean_s",
    }  # fmt: skip


def test_a_missing_file_is_a_problem() -> None:
    ended = icapd("config", "check", "/nonexistent/icapd.toml")
    assert ended == (2, "", "/nonexistent/icapd.toml: cannot be read: No such file or directory\n")


def test_a_wrong_rule_file_is_named_with_its_line(tmp_path: Path) -> None:
    rules = tmp_path / "broken.yar"
    rules.write_text("rule broken\n{\n    condition: nonsense\n}\n")
    path = tmp_path / "icapd.toml"
    path.write_text('[engines.yara]\nrules = ["broken.yar"]\n')
    ended = icapd("config", "check", path)
    assert (ended.status, ended.out) == (2, "")
    assert "broken.yar" in ended.err
    assert "3" in ended.err


def test_a_missing_hash_list_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "icapd.toml"
    path.write_text('[engines.hashes]\ndeny = ["nowhere.txt"]\n')
    ended = icapd("config", "check", path)
    assert (ended.status, ended.out) == (2, "")
    assert "nowhere.txt" in ended.err


def test_one_configuration_at_a_time(wrong: Path) -> None:
    ended = icapd("config", "check", wrong, "--config", wrong)
    assert ended == (2, "", "one configuration at a time: FILE or --config FILE\n")


def test_show_lays_flags_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "icapd.toml"
    path.write_text('[log]\nlevel = "error"\naccess = "off"\n[cache]\nttl_clean_s = 1\n')
    ended = icapd(
        "config", "show", "--config", path, "--set", "log.level=debug", "--set", "cache.ttl_malicious_s=7",
        ICAPD_LOG__LEVEL="warning", ICAPD_CACHE__TTL_CLEAN_S="2",
    )  # fmt: skip
    assert (ended.status, ended.err) == (0, "")
    shown = tomllib.loads(ended.out)
    assert (shown["log"]["level"], shown["log"]["access"]) == ("debug", "off")
    assert (shown["cache"]["ttl_clean_s"], shown["cache"]["ttl_malicious_s"]) == (2, 7)


def test_show_defaults_is_a_configuration_of_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(icapd("config", "show", "--defaults").out)
    assert "# " in path.read_text()
    specs = installed_specs()
    assert load(path, specs, environ={}).settings == load(None, specs, environ={}).settings


def test_a_key_that_is_not_there_is_named() -> None:
    ended = icapd("config", "show", "--set", "log.levle=debug")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("log.levle: ")
