"""Scanners for the pool's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.installed import engines_are_installed as engines_are_installed
from tests.worker.scanners import ScannerBench

Make = Callable[..., ScannerBench]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes benches; ends them, and whatever they started, after the test."""
    made: list[ScannerBench] = []

    def make_one(**settings: Any) -> ScannerBench:
        made.append(ScannerBench(**settings))
        return made[-1]

    yield make_one
    for bench in made:
        bench.stop()


@pytest.fixture(scope="package")
def _two() -> Iterator[ScannerBench]:
    bench = ScannerBench(count=2)
    yield bench
    bench.stop()


@pytest.fixture(scope="package")
def _one() -> Iterator[ScannerBench]:
    bench = ScannerBench(count=1)
    yield bench
    bench.stop()


@pytest.fixture
def bench(_two: ScannerBench) -> ScannerBench:
    """Two scanners, shared with other tests to save their start; whole again when a test begins."""
    _two.settle()
    return _two


@pytest.fixture
def single(_one: ScannerBench) -> ScannerBench:
    """The same with a single scanner."""
    _one.settle()
    return _one
