"""A little of the fuzzing of engines that open nothing in every run, and every input that it once kept."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.fuzz_judges import FOUND
from tests.fuzz.judging import TARGETS, check, made

INPUTS = 60


@pytest.mark.parametrize("target", TARGETS)
def test_faults_break_no_rule(target: str) -> None:
    for data in TARGETS[target][1]:
        check(target, data)
    random = Random(target)
    for _ in range(INPUTS):
        check(target, made(target, random))


def test_what_was_found_stays_mended() -> None:
    for path in sorted(FOUND.glob("*/*.bin")):
        check(path.parent.name, path.read_bytes())
