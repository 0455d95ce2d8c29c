"""When a scanner lets engines have a body's descriptor: only for a file that holds the body and nothing more."""

from __future__ import annotations

import pytest

from icapd.scan.model import Sample
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
