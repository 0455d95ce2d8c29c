"""Fuzzes an engine that opens nothing for a given time:  python -m tests.fuzz.fuzz_judges TARGET 600 [SEED]

TARGET is a name of `tests.fuzz.judging.TARGETS`. An input that breaks a rule is kept in tests/fuzz/found_judges,
where the tests replay it from then on; the status is then 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.fuzz.judging import TARGETS, check, made
from tests.fuzz.running import fuzz

FOUND = Path(__file__).parent / "found_judges"


def main(arguments: list[str]) -> int:
    """Returns: the exit status."""
    try:
        name, duration_s = arguments[0], float(arguments[1])
        seed = int(arguments[2]) if len(arguments) > 2 else time.time_ns()
    except (IndexError, ValueError):
        name = ""
    if name not in TARGETS:
        print(__doc__, file=sys.stderr)
        return 2
    FOUND.mkdir(exist_ok=True)
    return fuzz(
        duration_s, seed, lambda random: made(name, random), lambda data, random: check(name, data), FOUND / name
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
