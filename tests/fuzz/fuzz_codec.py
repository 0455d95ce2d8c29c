"""Fuzzes the ICAP codec for a given time:  python -m tests.fuzz.fuzz_codec 600 [SEED]

Each input is put together from words of the wire, or a conversation with faults, and must give the same outcome in
every feeding, with no error but a protocol error. An input that does not is kept in tests/fuzz/found, where the tests
replay it from then on; the status is then 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.fuzz.running import fuzz
from tests.icap.fuzzing import assembled, check, composed, mutated

FOUND = Path(__file__).parent / "found"


def main(arguments: list[str]) -> int:
    """Returns: the exit status."""
    try:
        duration_s = float(arguments[0])
        seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns()
    except (IndexError, ValueError):
        print(__doc__, file=sys.stderr)
        return 2
    return fuzz(duration_s, seed, lambda random: random.choice([assembled, composed, mutated])(random), check, FOUND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
