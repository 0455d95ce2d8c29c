"""RPM packages: a lead and two headers, then the payload, a compressed cpio archive that is opened as what it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.collect import collect
from engines.archive.limits import ArchiveOptions
from engines.archive.streams import Range
from icapd.scan.model import Budget, Buffer, Finding, Sample

FORMAT: Final = "rpm"
MEDIA_TYPE: Final = "application/x-rpm"
_LEAD_BYTES: Final = 96
_HEADER: Final = struct.Struct(">4s4x2I")
_HEADER_MAGIC: Final = b"\x8e\xad\xe8\x01"
_INDEX_ENTRY_BYTES: Final = 16


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    budget.take_member()
    signature_end = _header_end(sample.data, _LEAD_BYTES)
    # The first header is padded to 8 bytes, the second is not.
    start = _header_end(sample.data, -(-signature_end // 8) * 8) if signature_end else 0
    if not start:
        yield findings.corrupt(FORMAT, sample.trail)
        return
    payload = collect(Range(sample.data, start, sample.size_bytes, budget), sample.size_bytes, limits, budget)
    if payload.data:
        yield sample.member(payload.data, "payload")
    yield from payload.shortfall(FORMAT, sample.trail)


def _header_end(data: Buffer, at: int) -> int:
    """Where the header at an offset ends; 0 where none stands or none ends."""
    head = data[at : at + _HEADER.size]
    if len(head) < _HEADER.size:
        return 0
    magic, entries, store_bytes = _HEADER.unpack(head)
    end: int = at + _HEADER.size + entries * _INDEX_ENTRY_BYTES + store_bytes
    return end if magic == _HEADER_MAGIC and end <= len(data) else 0
