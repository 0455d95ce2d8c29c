"""The unpacker: content codings first, then every format whose marks the bytes bear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from engines.archive import (
    cabinet_files,
    gzip_files,
    library_files,
    rpm_files,
    self_extracting,
    stream_files,
    unopened,
    xar_files,
    zip_files,
)
from engines.archive.coding import codings_of, decode
from engines.archive.findings import ENGINE
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Finding, Sample


class Format(Protocol):
    """One family of formats; each is a module with this function."""

    def unpack(self, sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]: ...


_BY_TYPE: Final[dict[str, Format]] = {
    **dict.fromkeys(stream_files.MEDIA_TYPES, stream_files),
    **dict.fromkeys(library_files.MEDIA_TYPES, library_files),
    cabinet_files.MEDIA_TYPE: cabinet_files,
    rpm_files.MEDIA_TYPE: rpm_files,
    xar_files.MEDIA_TYPE: xar_files,
    **dict.fromkeys(unopened.MEDIA_TYPES, unopened),
}

_CODED_AS: Final = {"gzip": "application/gzip", "x-gzip": "application/gzip", "zstd": "application/zstd"}
"""What a coded body is identified as: its coding, which needs no second opening as a file of that kind."""


def formats_of(sample: Sample) -> list[Format]:
    """Every format that a sample may be read as.

    By what it was identified as, and by marks that stand in files of any type. Asked about each sample, and nearly
    none is an archive.
    """
    formats: list[Format] = []
    if gzip_files.bears_mark(sample.data):
        formats.append(gzip_files)
    if zip_files.bears_mark(sample.data):
        formats.append(zip_files)
    known = _BY_TYPE.get(sample.identity.media_type)
    if known is not None:
        formats.append(known)
    if self_extracting.bears_mark(sample):
        formats.append(self_extracting)
    if known is not library_files and library_files.bears_mark(sample.data):
        formats.append(library_files)
    if known is not unopened and unopened.bears_mark(sample.data):
        formats.append(unopened)
    return formats


class ArchiveUnpacker:
    """Finds what is inside a body. Keeps nothing between samples; writes nothing to a disk."""

    name = ENGINE

    def __init__(self, limits: ArchiveOptions) -> None:
        self._limits = limits

    def budget(self, deadline: float) -> Budget:
        """A fresh budget for one body, with the operator's limits."""
        return Budget(
            deadline,
            bytes_left=self._limits.max_unpacked_bytes,
            members_left=self._limits.max_members,
            depth_left=self._limits.max_depth,
            ratio_max=self._limits.max_ratio,
            held_bytes_left=self._limits.max_held_bytes,
        )

    def opens(self, sample: Sample) -> bool:
        if not sample.data:
            return False
        return bool(sample.coding and codings_of(sample.coding)) or bool(formats_of(sample))

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        """Yields the samples inside, and findings for what cannot be read.

        A body that was decoded whole is not opened as it came as well: it is what its codings made of it.
        """
        formats = formats_of(sample)
        codings = codings_of(sample.coding)
        if codings:
            if _CODED_AS.get(codings[-1]) == sample.identity.media_type:
                formats = [each for each in formats if each is zip_files]
            for item in decode(sample, codings, self._limits, budget):
                yield item
                if isinstance(item, Sample) and item.trail == sample.trail:
                    return
        for each in formats:
            yield from each.unpack(sample, self._limits, budget)
