"""What cannot work does not start: every problem is told with its file and line, soon, with exit status 2."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.icapd import ICAPD, environment, to_toml
from tests.support.ports import LOOPBACK, accepts_connections, free_port

DEADLINE_S = 15


def problems(folder: Path, **tables: object) -> list[str]:
    """Standard error of a start that is refused."""
    port = free_port()
    server = {"listen": [f"icap://{LOOPBACK}:{port}"], "admin": f"http://{LOOPBACK}:{free_port()}"}
    path = folder / "icapd.toml"
    path.write_text(to_toml({"server": server, **tables}))
    done = subprocess.run(
        [ICAPD, "serve", "--config", path],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert not accepts_connections(port)
    return done.stderr.splitlines()


def test_rule_files(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yar").write_text("rule fine { condition: false }\nrule broken {\n  condition: nonsense\n}\n")
    (rules / "b.yar").write_text('include "c.yar"\n')
    (rules / "c.yar").write_text('rule odd { meta: kind = "terrible" condition: true }\n')
    told = problems(tmp_path, engines={"yara": {"rules": ["rules"]}})

    assert {line.partition(" ")[0] for line in told} == {"rules/a.yar:3:", "rules/b.yar:1:", "rules/c.yar:1:"}


def test_hash_lists(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text(f"# fine\n{'a' * 64}\nno digest\n{'g' * 64}\n")
    told = problems(tmp_path, engines={"hashes": {"deny": ["bad.txt", "gone.txt"]}})

    assert [line.partition(" ")[0] for line in told] == [
        f"{tmp_path}/bad.txt:3:",
        f"{tmp_path}/bad.txt:4:",
        f"{tmp_path}/gone.txt:",
    ]


def test_everything_of_the_configuration_at_once(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>\n{{ reason\n</p>\n")
    told = problems(
        tmp_path,
        cache={"secret_file": "gone.secret"},
        pages={"block": "page.html"},
        scanners={"count": 0},
        log={"level": "loud"},
    )

    assert sorted(line.partition(" ")[0] for line in told) == [
        "cache.secret_file:",
        "log.level:",
        "pages.block:",
        "scanners.count:",
    ]
    assert any(line.startswith("pages.block: line 3: ") for line in told)


def test_a_secret_that_is_too_short(tmp_path: Path) -> None:
    secret = tmp_path / "cache.secret"
    secret.write_bytes(b"s" * 31)
    secret.chmod(0o600)
    [told] = problems(tmp_path, cache={"secret_file": "cache.secret"})

    assert told.startswith("cache.secret_file: ")
    assert "31 bytes" in told


def test_an_access_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    [told] = problems(tmp_path, log={"access": "folder"})

    assert told == f"log.access: {tmp_path}/folder is a folder"


def test_a_pipe_for_the_access_log_that_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert problems(tmp_path, log={"access": "pipe"}) == [f"log.access: {tmp_path}/pipe: a pipe that nobody reads"]


def test_pipes_in_place_of_files_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = problems(tmp_path, engines={"yara": {"rules": ["pipe"]}, "hashes": {"deny": ["pipe"]}})

    assert told == [f"{pipe}: is no regular file"] * 2
    assert problems(tmp_path, cache={"secret_file": "pipe"}) == [
        f"cache.secret_file: cannot read {pipe}: is no regular file"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's scanners become another user")
def test_a_user_that_is_none_beside_a_broken_rule(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text("rule broken { condition: nonsense }\n")
    scanners = {"user": "no-such-user"}
    told = problems(tmp_path, scanners=scanners, engines={"yara": {"rules": ["a.yar"]}})

    assert {line.partition(": ")[0] for line in told} == {"a.yar:1", "scanners.user"}
    assert [line.partition(": ")[0] for line in problems(tmp_path, scanners=scanners)] == ["scanners.user"]
