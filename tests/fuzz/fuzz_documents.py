"""Fuzzes the readers of documents for a given time:  python -m tests.fuzz.fuzz_documents READER|all 600 [SEED]

READER is compound, vba, biff, biff12, rtf, ooxml or pdf. An input that breaks the rule (no engine fails, none takes
long) is kept in tests/fuzz/found_documents, where the tests replay it from then on; the status is then 1.
"""

from __future__ import annotations

import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.engines.document_fuzzing import SEEDS, check, mutated

FOUND = Path(__file__).parent / "found_documents"


def survives(data: bytes) -> bool:
    """False when the input broke the rule; it is kept then."""
    try:
        check(data)
    except Exception:
        traceback.print_exc()
        FOUND.mkdir(exist_ok=True)
        path = FOUND / f"{sha256(data).hexdigest()[:16]}.bin"
        path.write_bytes(data)
        print(f"kept {path}", file=sys.stderr)
        return False
    return True


def main(arguments: list[str]) -> int:
    """Returns: the exit status."""
    try:
        readers = list(SEEDS) if arguments[0] == "all" else [arguments[0]]
        duration_s = float(arguments[1])
        seed = int(arguments[2]) if len(arguments) > 2 else time.time_ns()
        unknown = set(readers) - set(SEEDS)
    except (IndexError, ValueError):
        unknown = {""}
    if unknown:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"seed {seed}")
    random = Random(seed)
    end = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end:
        if not survives(mutated(random.choice(readers), random)):
            return 1
        count += 1
    print(f"{count} inputs in {duration_s:g} s, none broke a rule")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
