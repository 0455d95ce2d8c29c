"""The unpacker: content codings first, then every format whose marks the bytes bear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from engines.archive import (
    gzip_files,
    library_files,
    rpm_files,
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
    """One family of formats; each is a module with these two functions."""

    def matches(self, sample: Sample) -> bool: ...

    def unpack(self, sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]: ...


FORMATS: Final[tuple[Format, ...]] = (
    gzip_files,
    zip_files,
    stream_files,
    library_files,
    rpm_files,
    xar_files,
    unopened,
)

_CODED_AS: Final = {"gzip": "application/gzip", "x-gzip": "application/gzip", "zstd": "application/zstd"}
"""What a coded body is identified as: its coding, which needs no second opening as a file of that kind."""


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
        )

    def opens(self, sample: Sample) -> bool:
        return bool(sample.size_bytes) and (
            bool(codings_of(sample.coding)) or any(form.matches(sample) for form in FORMATS)
        )

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        """Yields the samples inside, and findings for what cannot be read.

        A body that was decoded whole is not opened as it came as well: it is what its codings made of it.
        """
        codings = codings_of(sample.coding)
        forms = FORMATS
        if codings:
            if _CODED_AS.get(codings[-1]) == sample.identity.media_type:
                forms = (zip_files,)
            for item in decode(sample, codings, self._limits, budget):
                yield item
                if isinstance(item, Sample) and item.trail == sample.trail:
                    return
        for form in forms:
            if form.matches(sample):
                yield from form.unpack(sample, self._limits, budget)
