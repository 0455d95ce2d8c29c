"""The unpacker: asks each family of formats whether it knows the sample, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from engines.embedded import mail, onenote, shortcut, text, tnef
from engines.embedded.findings import ENGINE
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample


class Format(Protocol):
    """One family of formats that bear a mark; each is a module with these two functions."""

    def matches(self, sample: Sample) -> bool: ...

    def unpack(self, sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]: ...


FORMATS: Final[tuple[Format, ...]] = (mail, tnef, onenote, shortcut)
_INERT: Final = frozenset({"image", "audio", "video", "font", "executable", "archive", "empty", "document"})
"""Families in which nothing of ours is; SVG is an image, and text."""


class EmbeddedUnpacker:
    """Finds what is embedded in a sample. Keeps nothing between samples."""

    name = ENGINE

    def __init__(self, limits: EmbeddedOptions) -> None:
        self._limits = limits

    def opens(self, sample: Sample) -> bool:
        if sample.identity.family in _INERT and sample.identity.media_type != "image/svg+xml":
            return False
        return text.matches(sample, self._limits) or any(form.matches(sample) for form in FORMATS)

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        is_known = False
        for form in FORMATS:
            if form.matches(sample):
                is_known = True
                yield from form.unpack(sample, self._limits, budget)
        if not is_known and text.matches(sample, self._limits):
            yield from text.unpack(sample, self._limits, budget)
