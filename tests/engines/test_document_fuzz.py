"""A little of the document fuzzers at every run, with fixed seeds, and every input that they ever kept."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.engines.document_fuzzing import SEEDS, check, mutated
from tests.fuzz.fuzz_documents import FOUND

KEPT = sorted(FOUND.glob("*.bin")) if FOUND.is_dir() else []


@pytest.mark.parametrize("reader", SEEDS)
def test_changed_documents_break_nothing(reader: str) -> None:
    random = Random(reader)
    for _ in range(150):
        check(mutated(reader, random))


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_what_once_broke_a_rule_keeps_it(path: Path) -> None:
    check(path.read_bytes())
