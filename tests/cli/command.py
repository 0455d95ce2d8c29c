"""`icapd` as a user types it: a process, its exit status, what it prints."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.icapd import ICAPD, environment

DEADLINE_S = 60
EICAR_RULE_ALONE = ("--set", 'engines.yara.rules=["conf/rules/eicar.yar"]')
"""For what does not ask which rules there are: all of them take their time to build."""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def icapd(*arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **variables: str) -> Ended:
    """Runs one command to its end. No error of a user ever shows a traceback."""
    done = subprocess.run(
        [ICAPD, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**environment(), **variables},
        timeout=DEADLINE_S,
    )
    ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "icapd/cli" not in ended.err, ended.err
    return ended
