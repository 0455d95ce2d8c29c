"""The example for nginx users does what its README says, and its Lua files are clean."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.support.nginx import EXAMPLE, PACKAGES
from tests.support.process import find_program


def test_try_shows_uploads_and_downloads_and_leaves_nothing() -> None:
    find_program("nginx", PACKAGES)
    find_program("curl", "curl")
    left_before = _leftovers()

    run = subprocess.run([EXAMPLE / "try.sh"], capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert [line[:8].strip() for line in lines] == ["ok"] * 9, run.stdout
    assert _leftovers() <= left_before


def test_lua_files_are_clean() -> None:
    program = find_program("luacheck", "lua-check")

    run = subprocess.run([program, "."], cwd=EXAMPLE, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout + run.stderr


def _leftovers() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("icapd-try.*"))
