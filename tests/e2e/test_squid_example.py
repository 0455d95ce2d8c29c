"""The example for Squid users does what its README says."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.support.process import find_program

TRY = Path(__file__).parents[2] / "squid-example" / "try.sh"


def test_try_shows_three_transfers_and_leaves_nothing() -> None:
    find_program("squid", "squid-openssl")
    find_program("curl", "curl")
    left_before = _leftovers()

    run = subprocess.run([TRY], capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert [line[:8].strip() for line in lines] == ["ok"] * 6, run.stdout
    assert _leftovers() <= left_before


def _leftovers() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("icapd-try.*"))
