"""Files of one compressed stream that is not gzip: bzip2, xz, LZMA and zstd; lz4, lzip and compress by libarchive."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from engines.archive.collect import Unpacked, collect, collect_up_to_rest
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import ZSTD_FILE_WINDOW_BYTES, unzstd_file
from engines.archive.streams import (
    LZMA_DICTIONARY_BYTES,
    Broken,
    Buffered,
    Concatenated,
    Range,
    Source,
    Stream,
    lzma_stream,
    xz_stream,
)
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Finding, Sample


def _bunzip2(source: Source, max_streams: int) -> Stream:
    return Concatenated(source, lambda rest: Buffered(rest, bz2.BZ2Decompressor()), b"BZh", max_streams)


def _unxz(source: Source, max_streams: int) -> Stream:
    return Concatenated(source, xz_stream, b"\xfd7zXZ\x00", max_streams)


def _unlzma(source: Source, max_streams: int) -> Stream:
    return lzma_stream(source, lzma.FORMAT_ALONE)


@dataclass(frozen=True)
class _Kind:
    """One format: its name in findings, the ending of its files, and who reads it: a stream or a filter."""

    name: str
    ending: str
    open_stream: Callable[[Source, int], Stream] | None = None
    filter_name: str = ""
    work_bytes: int = 8 * 1024 * 1024


_KINDS: Final[dict[str, _Kind]] = {
    "application/x-bzip2": _Kind("bzip2", ".bz2", _bunzip2),
    "application/x-xz": _Kind("xz", ".xz", _unxz, work_bytes=LZMA_DICTIONARY_BYTES),
    "application/x-lzma": _Kind("lzma", ".lzma", _unlzma, work_bytes=LZMA_DICTIONARY_BYTES),
    "application/zstd": _Kind("zstd", ".zst", unzstd_file, work_bytes=ZSTD_FILE_WINDOW_BYTES),
    "application/x-lz4": _Kind("lz4", ".lz4", filter_name="lz4"),
    "application/x-lzip": _Kind("lzip", ".lz", filter_name="lzip", work_bytes=LZMA_DICTIONARY_BYTES),
    "application/x-compress": _Kind("compress", ".Z", filter_name="compress"),
}


MEDIA_TYPES: Final = frozenset(_KINDS)


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the content, and what follows the last stream as another member."""
    kind = _KINDS[sample.identity.media_type]
    budget.take_member()
    packed = Range(sample.data, 0, sample.size_bytes, budget)
    if kind.open_stream is None:
        content, rest = _filtered(sample, kind, limits, budget), None
    else:
        content, rest = collect_up_to_rest(
            kind.open_stream(packed, limits.max_members), sample.size_bytes, limits, budget, kind.work_bytes
        )
    member = sample.member(content.data, sample.name.removesuffix(kind.ending) or "content")
    if content.data:
        yield member
    yield from content.shortfall(kind.name, member.trail)
    if rest is None or not content.is_whole:
        return
    trailing = collect(rest, sample.size_bytes, limits, budget)
    # Zeros are padding. What follows them may be one more stream, which the tools of the format would go on with.
    data = trailing.data.lstrip(b"\x00")
    if data:
        yield sample.member(data, "trailing-data")
    yield from trailing.shortfall(kind.name, sample.trail)


def _filtered(sample: Sample, kind: _Kind, limits: ArchiveOptions, budget: Budget) -> Unpacked:
    """What libarchive makes of it: one member, whatever it is."""
    content = Unpacked(b"")
    try:
        with Reader(sample.data, ("raw",), (kind.filter_name,)) as reader:
            for entry in reader.entries():
                content = collect(entry, sample.size_bytes, limits, budget, kind.work_bytes)
    except Broken as error:
        return Unpacked(content.data, content.limit, error)
    except LimitReached as reached:
        return Unpacked(content.data, reached.limit)
    return content
