"""A little of the fuzzing of engines that open nothing in every run."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.judging import TARGETS, check_one

INPUTS = 60


@pytest.mark.parametrize("target", TARGETS)
def test_faults_break_no_rule(target: str) -> None:
    check, good = TARGETS[target]
    for data in good:
        check(data)
    random = Random(target)
    for _ in range(INPUTS):
        check_one(target, random)
