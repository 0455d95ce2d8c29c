"""Fuzzes what unpacks and decodes for a given time:  python -m tests.fuzz.fuzz_unpackers 600 [SEED] [TARGET]

TARGET is one decoder (`tests.fuzz.unpacking.TARGETS`); without it all take turns. Each input is a good one with
faults; no engine may fail on it or take more than 2 s of CPU. An input that breaks a rule is kept in
tests/fuzz/found_unpackers, where the tests replay it from then on; one that took the process down lies there as
*.pending.
"""

from __future__ import annotations

import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.fuzz.unpacking import TARGETS, engine_set, mutated

FOUND = Path(__file__).parent / "found_unpackers"


def main(arguments: list[str]) -> int:
    """Returns: the exit status."""
    try:
        duration_s = float(arguments[0])
        seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns()
        targets = {name: TARGETS[name] for name in arguments[2:] or TARGETS}
    except (IndexError, ValueError, KeyError):
        print(__doc__, file=sys.stderr)
        return 2
    print(f"seed {seed}", flush=True)
    FOUND.mkdir(exist_ok=True)
    random, check = Random(seed), engine_set()
    end = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end:
        for name, good in targets.items():
            data = mutated(good, random)
            kept = FOUND / f"{name}.{sha256(data).hexdigest()[:16]}.bin"
            pending = kept.with_suffix(".pending")
            pending.write_bytes(data)
            try:
                check(data, name)
            except Exception:
                traceback.print_exc()
                pending.rename(kept)
                print(f"kept {kept}", file=sys.stderr)
                return 1
            pending.unlink()
            count += 1
    print(f"{count} inputs in {duration_s:g} s, none broke a rule")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
