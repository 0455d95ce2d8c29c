"""Fuzzes the engines that open nothing for a given time:  python -m tests.fuzz.fuzz_judges 600 [SEED] [TARGET ...]

TARGET is a name of `tests.fuzz.judging.TARGETS`; without any all take turns. An input that breaks a rule is shown
with what broke, and the status is 1: put it into a test.
"""

from __future__ import annotations

import sys
import time
from random import Random

from tests.fuzz.judging import TARGETS, check_one


def main(arguments: list[str]) -> int:
    """Returns: the exit status; what broke a rule is raised."""
    try:
        duration_s = float(arguments[0])
        seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns()
    except (IndexError, ValueError):
        print(__doc__, file=sys.stderr)
        return 2
    names = arguments[2:] or list(TARGETS)
    if not TARGETS.keys() >= set(names):
        print(__doc__, file=sys.stderr)
        return 2
    print(f"seed {seed}", flush=True)
    random = Random(seed)
    end = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end:
        check_one(names[count % len(names)], random)
        count += 1
    print(f"{count} inputs in {duration_s:g} s, none broke a rule")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
