"""Fuzzes the readers of documents for a given time:  python -m tests.fuzz.fuzz_documents READER|all 600 [SEED]

READER is compound, vba, biff, biff12, rtf, ooxml or pdf. An input that breaks the rule (no engine fails, none takes
long) is kept in tests/fuzz/found_documents, where the tests replay it from then on; the status is then 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.engines.document_fuzzing import SEEDS, check, mutated
from tests.fuzz.running import fuzz

FOUND = Path(__file__).parent / "found_documents"


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
    return fuzz(
        duration_s, seed, lambda random: mutated(random.choice(readers), random), lambda data, _: check(data), FOUND
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
