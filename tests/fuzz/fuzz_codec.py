"""Fuzzes the ICAP codec for a given time:  python -m tests.fuzz.fuzz_codec 600 [SEED]

Each input is put together from words of the wire, or a conversation with faults, and must give the same outcome in
every feeding, with no error but a protocol error. An input that does not is kept in tests/fuzz/found, where the tests
replay it from then on; the status is then 1.
"""

from __future__ import annotations

import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.icap.fuzzing import assembled, check, composed, mutated

FOUND = Path(__file__).parent / "found"


def survives(data: bytes, random: Random) -> bool:
    """False when the input broke a rule; it is kept then."""
    try:
        check(data, random)
    except Exception:
        traceback.print_exc()
        FOUND.mkdir(exist_ok=True)
        path = FOUND / f"{sha256(data).hexdigest()[:16]}.bin"
        path.write_bytes(data)
        print(f"kept {path}: {data!r}", file=sys.stderr)
        return False
    return True


def main(arguments: list[str]) -> int:
    """Returns: the exit status."""
    try:
        duration_s = float(arguments[0])
        seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns()
    except (IndexError, ValueError):
        print(__doc__, file=sys.stderr)
        return 2
    print(f"seed {seed}")
    random = Random(seed)
    end = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end:
        make = random.choice([assembled, composed, mutated])
        if not survives(make(random), random):
            return 1
        count += 1
    print(f"{count} inputs in {duration_s:g} s, none broke a rule")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
