"""Scans a large mapped body under a memory limit too small for a copy of it. Run by test_yara in a fresh process."""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.yara import SPEC, YaraOptions
from engines.yara.engine import YaraEngine
from icapd.scan.model import Budget, Sample

BODY_BYTES = 200_000_000
MEMORY_BYTES = 64 * 1024 * 1024


@contextmanager
def sparse_body(size_bytes: int, end: bytes = b"") -> Iterator[tuple[int, mmap.mmap]]:
    """A body of zeros with this end, as a scanner gets it: a file without a name, mapped."""
    descriptor = os.memfd_create("body", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size_bytes)
        os.pwrite(descriptor, end, size_bytes - len(end))
        with mmap.mmap(descriptor, size_bytes, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            yield descriptor, mapped
    finally:
        os.close(descriptor)


def main(rules: str, backend: str) -> None:
    options = YaraOptions.model_validate({"rules": [rules], "backend": backend})
    engine = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(engine, YaraEngine)
    engine.scan(Sample(b"first"), Budget(time.monotonic() + 20))
    with open("/proc/self/status", "rb") as status:
        used_bytes = next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (used_bytes + MEMORY_BYTES, used_bytes + MEMORY_BYTES))
    outcomes = []
    for end in (b"needle", b"hay"):
        with sparse_body(BODY_BYTES, end) as (descriptor, mapped):
            report = engine.scan(Sample(mapped, descriptor=descriptor), Budget(time.monotonic() + 20))
            outcomes.append(report.outcome.value)
            copy = _copy(mapped)
    print(json.dumps({"outcomes": outcomes, "copy": copy}))


def _copy(mapped: mmap.mmap) -> str:
    """Whether the limit would have stopped a copy."""
    try:
        return f"{len(bytes(mapped))} bytes"
    except MemoryError:
        return "refused"


if __name__ == "__main__":
    main(*sys.argv[1:])
