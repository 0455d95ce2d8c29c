"""A little of the fuzzing in every run, and every input that fuzzing once found."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.fuzz_unpackers import FOUND
from tests.fuzz.unpacking import TARGETS, engine_set, mutated

INPUTS = 60


@pytest.mark.parametrize("target", TARGETS)
def test_faults_break_no_rule(target: str) -> None:
    check, random = engine_set(), Random(target)
    check(TARGETS[target], target)
    for _ in range(INPUTS):
        check(mutated(TARGETS[target], random), target)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.bin")), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    engine_set()(path.read_bytes(), path.name.partition(".")[0])
