"""What a bound on CPU time comes to on this machine, now.

Two busy threads of one core each take up to twice the CPU time that one takes alone, and machines differ: a bound in
plain seconds would test the machine.
"""

from __future__ import annotations

import time
from typing import Final

_QUIET_S: Final = 0.055
"""What `_lap` takes on a quiet core of the machines that bounds were chosen on."""
_LAPS: Final = 3


def _lap() -> float:
    """CPU time of a fixed piece of ordinary work: arithmetic, small objects, a table."""
    began = time.process_time()
    seen = {}
    for number in range(300_000):
        seen[number % 1000] = b"a" * (number % 7) + b"b"
    return time.process_time() - began


def is_within(spent_s: float, quiet_s: float) -> bool:
    """Whether it took no more CPU time than `quiet_s` on a quiet core would be here."""
    return spent_s < quiet_s or spent_s < quiet_s * max(_lap() for _ in range(_LAPS)) / _QUIET_S
