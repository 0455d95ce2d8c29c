"""The example package: built and installed as any other, found by its entry point, judging in real scanners."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import EICAR_RULE_ALONE, icapd
from tests.engines.samples import zip_of
from tests.process.servers import ask, verdict
from tests.support.icapd import Icapd

EXAMPLE = Path(__file__).parents[1] / "examples" / "icapd-engine-wordlist"
EICAR_ONLY = {"rules": [str(EXAMPLE.parents[1] / "conf" / "rules" / "eicar.yar")]}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package was installed to: as a wheel, without a network, outside this environment."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    subprocess.run([*pip, "--no-build-isolation", "--target", folder / "site", folder / "source"], check=True)
    return folder / "site"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("soup\n")
    return path


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_the_command_uses_it(installed: Path, words: Path, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    bodies.mkdir()
    (bodies / "menu.txt").write_bytes(b"Soup of the day")
    (bodies / "menu.zip").write_bytes(zip_of({"menu.txt": b"Soup of the day"}))
    (bodies / "list.txt").write_bytes(b"bread, butter")
    options = ("--set", f'engines.wordlist.lists=["{words}"]', *EICAR_RULE_ALONE)
    ended = icapd("scan", "--json", *options, bodies, PYTHONPATH=str(installed))
    assert ended.status == 1, ended.err
    lines = [json.loads(line) for line in ended.out.splitlines()]
    found = {
        Path(line["path"]).name: [(finding["name"], finding["trail"]) for finding in line["findings"]]
        for line in lines
        if "path" in line
    }
    assert found == {"menu.txt": [("word:soup", [])], "menu.zip": [("word:soup", ["menu.txt"])], "list.txt": []}


def test_the_server_uses_it(installed: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    engines = {"wordlist": {"lists": [str(words)]}, "yara": EICAR_ONLY}
    with Icapd(tmp_path / "server", {"engines": engines}) as server:
        answer = ask(server, b"a bowl of SOUP")
        assert (verdict(answer), answer.http_status) == ("FORBIDDEN", 403)
        assert "word:soup" in (answer.header("X-Response-Info") or "")
        assert verdict(ask(server, b"bread and butter")) == "CLEAN"


def test_its_options_are_checked_like_any(installed: Path) -> None:
    ended = icapd("config", "check", "--set", "engines.wordlist.kind=splendid", PYTHONPATH=str(installed))
    assert ended.status != 0
    assert "engines.wordlist.kind" in ended.err + ended.out


def test_without_the_package_its_table_is_refused() -> None:
    ended = icapd("config", "check", "--set", "engines.wordlist.lists=[]")
    assert ended.status != 0
    assert "engines.wordlist" in ended.err + ended.out
