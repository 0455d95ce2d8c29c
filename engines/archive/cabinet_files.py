"""Cabinets: Windows and cabextract pass over a reserved field, libarchive opens those alone that have zeros in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import library_files
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/vnd.ms-cab-compressed"
_PLAIN: Final = b"MSCF\0\0\0\0"


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    if sample.data[: len(_PLAIN)] == _PLAIN:
        yield from library_files.unpack(sample, limits, budget)
        return
    held_bytes = sample.size_bytes
    budget.held_bytes_left -= held_bytes
    data = _PLAIN + bytes(sample.data[len(_PLAIN) :])
    cabinet = Sample(data, sample.name, sample.trail, identity=sample.identity)
    yield from library_files.unpack(cabinet, limits, budget)
    budget.held_bytes_left += held_bytes
