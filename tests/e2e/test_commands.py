"""The commands as a user types them: exit status, standard output, standard error."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from icapd.cli.exits import Exit
from tests.support.eicar import EICAR
from tests.support.icapd import ICAPD, Icapd, environment
from tests.support.ports import LOOPBACK, free_port


def run(*arguments: str | Path, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """`icapd` with these arguments. No command may show a traceback, whatever it is given."""
    done = subprocess.run(
        [ICAPD, *map(str, arguments)],
        input=given,
        encoding="utf-8",
        capture_output=True,
        env=environment() | variables,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clean and an infected file."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "hello.txt").write_bytes(b"hello\n")
    (folder / "eicar.com").write_bytes(EICAR)
    return folder


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "icapd.toml"
    path.write_text('[server]\npolicy = "strict"\n')
    return path


def json_line(text: str) -> dict[str, Any]:
    [line] = text.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


@pytest.mark.parametrize("method", ["RESPMOD", "REQMOD"])
@pytest.mark.parametrize("options", [(), ("--preview", "3"), ("--no-204",)], ids=["plain", "preview", "no 204"])
def test_send_clean(icapd: Icapd, files: Path, method: str, options: tuple[str, ...]) -> None:
    done = run("send", files / "hello.txt", "--url", icapd.url(""), "--method", method, *options)

    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "CLEAN" in done.stdout


@pytest.mark.parametrize("method", ["RESPMOD", "REQMOD"])
@pytest.mark.parametrize("options", [(), ("--preview", "3"), ("--no-204",)], ids=["plain", "preview", "no 204"])
def test_send_infected(icapd: Icapd, files: Path, method: str, options: tuple[str, ...]) -> None:
    done = run("send", files / "eicar.com", "--url", icapd.url(""), "--method", method, *options)

    assert (done.returncode, done.stderr) == (Exit.BLOCKED, "")
    assert "MALICIOUS" in done.stdout
    assert "eicar" in done.stdout.lower()


def test_send_from_standard_input_as_json(icapd: Icapd) -> None:
    done = run("send", "-", "--url", icapd.url("/scan"), "--json", given=EICAR.decode())

    assert done.returncode == Exit.BLOCKED
    assert "MALICIOUS" in json.dumps(json_line(done.stdout))


def test_send_saves_what_came_back(icapd: Icapd, files: Path, tmp_path: Path) -> None:
    done = run("send", files / "hello.txt", "--url", icapd.url(""), "--no-204", "--save", tmp_path / "back")

    assert done.returncode == Exit.OK
    assert (tmp_path / "back").read_bytes() == b"hello\n"


def test_send_without_a_server_says_so(files: Path) -> None:
    url = f"icap://{LOOPBACK}:{free_port()}"

    done = run("send", files / "hello.txt", "--url", url)

    assert (done.returncode, done.stdout) == (Exit.FAILED, "")
    assert url.removeprefix("icap://") in done.stderr


def test_send_of_a_missing_file_says_so(icapd: Icapd, tmp_path: Path) -> None:
    done = run("send", tmp_path / "missing", "--url", icapd.url(""))

    assert done.returncode not in {Exit.OK, Exit.BLOCKED}
    assert "missing" in done.stderr


def test_scan_finds_the_infected_file_in_a_folder(files: Path) -> None:
    done = run("scan", files)

    assert done.returncode == Exit.BLOCKED
    hits = [line for line in done.stdout.splitlines() if "eicar.com" in line]
    assert len(hits) == 1
    assert "MALICIOUS" in hits[0]
    assert not [line for line in done.stdout.splitlines() if "hello.txt" in line]


def test_scan_of_a_clean_file(files: Path) -> None:
    done = run("scan", "--verbose", files / "hello.txt")

    assert done.returncode == Exit.OK
    assert "CLEAN" in done.stdout


def test_scan_of_a_missing_path_says_so(tmp_path: Path) -> None:
    done = run("scan", tmp_path / "missing")

    assert done.returncode == Exit.FAILED
    assert "missing" in done.stderr


def test_config_check_of_the_defaults_and_of_a_good_file(configuration: Path) -> None:
    assert run("config", "check").returncode == Exit.OK
    assert run("config", "check", configuration).returncode == Exit.OK


def test_config_check_lists_every_problem_with_its_key(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[server]\nfronts = 0\npollicy = "strict"\n\n[limits]\nhead_bytes = 1\n')

    done = run("config", "check", bad)

    assert done.returncode == Exit.USAGE
    for key in ("server.fronts", "server.pollicy", "limits.head_bytes"):
        assert key in done.stdout + done.stderr


def test_config_show_lays_the_environment_over_the_file(configuration: Path) -> None:
    done = run("config", "show", "--config", configuration, ICAPD_LOG__LEVEL="debug")

    assert (done.returncode, done.stderr) == (Exit.OK, "")
    shown = tomllib.loads(done.stdout)
    assert (shown["server"]["policy"], shown["log"]["level"]) == ("strict", "debug")


def test_config_show_defaults_is_a_file_to_start_from(tmp_path: Path) -> None:
    start = tmp_path / "start.toml"
    start.write_text(run("config", "show", "--defaults").stdout)

    assert tomllib.loads(start.read_text())["server"]["policy"] == "balanced"
    assert run("config", "check", start).returncode == Exit.OK


def test_serve_refuses_a_bad_configuration_before_it_listens(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[limits]\nhead_bytes = 1\n")

    done = run("serve", "--config", bad)

    assert done.returncode == Exit.USAGE
    assert "limits.head_bytes" in done.stderr


def test_serve_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    with Icapd(tmp_path) as running:
        assert running.stop() == Exit.OK
        assert running.admin("/livez")[0] == 0


def test_wrong_usage_is_told_from_failure() -> None:
    assert run("send", "--preview", "-1").returncode == Exit.USAGE
    assert run("nonsense").returncode == Exit.USAGE
