"""Runs a fuzzer for a given time and keeps the input that broke its rule, for the tests to replay from then on."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random


def fuzz(
    duration_s: float,
    seed: int,
    make: Callable[[Random], bytes],
    check: Callable[[bytes, Random], object],
    kept_in: Path,
) -> int:
    """Makes inputs and checks them; one that raises is kept, and is the last. Returns: the exit status."""
    print(f"seed {seed}")
    random = Random(seed)
    end = time.monotonic() + duration_s
    count = 0
    while time.monotonic() < end:
        data = make(random)
        try:
            check(data, random)
        except Exception:
            traceback.print_exc()
            kept_in.mkdir(exist_ok=True)
            path = kept_in / f"{sha256(data).hexdigest()[:16]}.bin"
            path.write_bytes(data)
            print(f"kept {path}", file=sys.stderr)
            return 1
        count += 1
    print(f"{count} inputs in {duration_s:g} s, none broke a rule")
    return 0
