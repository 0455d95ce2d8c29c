"""Files of one compressed stream that is not gzip: bzip2, xz, LZMA and zstd; lz4, lzip and compress by libarchive."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from engines.archive import findings
from engines.archive.collect import collect
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import unzstd_file
from engines.archive.streams import (
    LZMA_DICTIONARY_BYTES,
    Broken,
    Buffered,
    Concatenated,
    Range,
    Source,
    Stream,
)
from icapd.scan.model import Budget, Finding, Sample

_LZMA_WORK_BYTES: Final = 1024 * 1024
"""What a decoder takes besides its dictionary."""


def _bunzip2(source: Source, max_streams: int) -> Stream:
    return Concatenated(source, lambda rest: Buffered(rest, bz2.BZ2Decompressor()), b"BZh", max_streams)


def _lzma_stream(source: Source, kind: int) -> Stream:
    limit = LZMA_DICTIONARY_BYTES + _LZMA_WORK_BYTES
    return Buffered(source, lzma.LZMADecompressor(kind, memlimit=limit))


def _unxz(source: Source, max_streams: int) -> Stream:
    return Concatenated(source, lambda rest: _lzma_stream(rest, lzma.FORMAT_XZ), b"\xfd7zXZ\x00", max_streams)


def _unlzma(source: Source, max_streams: int) -> Stream:
    return _lzma_stream(source, lzma.FORMAT_ALONE)


@dataclass(frozen=True)
class _Kind:
    """One format: its name in findings, the ending of its files, and who reads it: a stream or a filter."""

    name: str
    ending: str
    open_stream: Callable[[Source, int], Stream] | None = None
    filter_name: str = ""


_KINDS: Final[dict[str, _Kind]] = {
    "application/x-bzip2": _Kind("bzip2", ".bz2", _bunzip2),
    "application/x-xz": _Kind("xz", ".xz", _unxz),
    "application/x-lzma": _Kind("lzma", ".lzma", _unlzma),
    "application/zstd": _Kind("zstd", ".zst", unzstd_file),
    "application/x-lz4": _Kind("lz4", ".lz4", filter_name="lz4"),
    "application/x-lzip": _Kind("lzip", ".lz", filter_name="lzip"),
    "application/x-compress": _Kind("compress", ".Z", filter_name="compress"),
}


MEDIA_TYPES: Final = frozenset(_KINDS)


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the content, and what follows the last stream as another member."""
    kind = _KINDS[sample.identity.media_type]
    budget.take_member()
    if kind.open_stream is None:
        yield from _filtered(sample, kind, limits, budget)
        return
    stream = kind.open_stream(Range(sample.data, 0, sample.size_bytes, budget), limits.max_members)
    yield from _content(sample, kind, stream, limits, budget)


def _filtered(sample: Sample, kind: _Kind, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    try:
        with Reader(sample.data, ("raw",), (kind.filter_name,)) as reader:
            for entry in reader.entries():
                yield from _content(sample, kind, entry, limits, budget)
    except Broken as error:
        yield findings.of_fault(error, kind.name, sample.trail)


def _content(
    sample: Sample, kind: _Kind, stream: Stream, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    content = collect(stream, sample.size_bytes, limits, budget)
    member = sample.member(content.data, sample.name.removesuffix(kind.ending) or "content")
    if content.data:
        yield member
    yield from content.shortfall(kind.name, member.trail)
    if not content.is_whole:
        return
    trailing = collect(stream.rest(), sample.size_bytes, limits, budget)
    # Zeros are padding. What follows them may be one more stream, which the tools of the format would go on with.
    data = trailing.data.lstrip(b"\x00")
    if data:
        yield sample.member(data, "trailing-data")
    yield from trailing.shortfall(kind.name, sample.trail)
