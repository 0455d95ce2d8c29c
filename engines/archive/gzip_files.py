"""gzip files, known by their magic bytes (RFC 1952)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive.collect import collect
from engines.archive.limits import ArchiveOptions
from engines.archive.names import member_name
from engines.archive.streams import Range, gunzip
from icapd.scan.model import Budget, Buffer, Finding, Sample

FORMAT: Final = "gzip"
_HAS_EXTRA: Final = 4
_HAS_NAME: Final = 8


def bears_mark(data: Buffer) -> bool:
    return data[:3] == b"\x1f\x8b\x08"


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the content, and what follows the last gzip member as another member."""
    budget.take_member()
    stream = gunzip(Range(sample.data, 0, sample.size_bytes, budget), limits.max_members)
    content = collect(stream, sample.size_bytes, limits, budget)
    member = sample.member(content.data, _stored_name(sample))
    if content.data:
        yield member
    yield from content.shortfall(FORMAT, member.trail)
    if content.is_whole:
        trailing = collect(stream.rest(), sample.size_bytes, limits, budget)
        if trailing.data.strip(b"\x00"):
            yield sample.member(trailing.data, "trailing-data")
        yield from trailing.shortfall(FORMAT, sample.trail)


def _stored_name(sample: Sample) -> str:
    """The name in the header, else the file's own without its ending."""
    head = sample.head(1024)
    if len(head) > 12 and head[3] & _HAS_NAME:
        start = 12 + int.from_bytes(head[10:12], "little") if head[3] & _HAS_EXTRA else 10
        end = head.find(b"\x00", start)
        if end > start:
            return member_name(head[start:end], "latin-1")
    return sample.name.removesuffix(".gz") if sample.name.endswith(".gz") else "content"
