"""When a scanner lets engines have a body's descriptor: only for a file that holds the body and nothing more."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engines.yara import SPEC, YaraOptions
from engines.yara.engine import YaraEngine
from engines.yara.rulesets import COPIED_BYTES_MAX
from icapd.scan.model import Budget, Outcome, Sample
from icapd.worker.frames import ScanTask
from icapd.worker.scanner import _whole
from tests.engines.mapped_scan import sparse_body


@pytest.mark.parametrize(("task_bytes", "is_given"), [(4096, True), (4095, False), (4097, False)])
def test_file_of_exactly_the_body(task_bytes: int, is_given: bool) -> None:
    task = ScanTask(number=1, size_bytes=task_bytes, sha256=bytes(32), deadline=0.0)
    with sparse_body(4096) as (descriptor, _):
        assert _whole([descriptor], task) == (descriptor if is_given else None)


def test_body_inside_the_task_has_none() -> None:
    assert _whole([], ScanTask(number=1, size_bytes=3, sha256=bytes(32), deadline=0.0)) is None


def test_members_do_not_inherit_it() -> None:
    with sparse_body(4096) as (descriptor, mapped):
        assert Sample(mapped, descriptor=descriptor).member(b"inside", "a.txt").descriptor is None


def test_a_body_that_cannot_be_opened_again_is_copied(tmp_path: Path) -> None:
    """As in a sandbox that forbids it."""
    rules = tmp_path / "needle.yar"
    rules.write_text('rule needle { strings: $a = "needle" condition: $a }')
    options = YaraOptions(rules=[str(rules)], backend="yara-x")
    engine = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(engine, YaraEngine)
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    sample = Sample(bytes(COPIED_BYTES_MAX + 1) + b"needle", descriptor=closed)

    assert engine.scan(sample, Budget(time.monotonic() + 20.0)).outcome is Outcome.FOUND
