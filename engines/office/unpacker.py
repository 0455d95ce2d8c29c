"""The office engine as an unpacker: decides by the first bytes which reader a sample gets, if any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from engines.office import activemime, biff12, odf, ole_files, ooxml, rtf
from engines.office.compound import MAGIC
from engines.office.findings import ENGINE
from engines.office.limits import OfficeOptions
from icapd.scan.model import Budget, Finding, Sample

Reader = Callable[[Sample, OfficeOptions, Budget], Iterator[Sample | Finding]]

_BY_MAGIC: Final[dict[bytes, Reader]] = {
    MAGIC[:4]: ole_files.unpack,
    rtf.MAGIC: rtf.unpack,
    activemime.MAGIC[:4]: activemime.unpack,
}


class OfficeUnpacker:
    """Judges documents and finds what is inside them. Keeps nothing between samples."""

    name = ENGINE

    def __init__(self, options: OfficeOptions) -> None:
        self._options = options

    def opens(self, sample: Sample) -> bool:
        return _reader(sample) is not None

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        reader = _reader(sample)
        if reader is not None:
            yield from reader(sample, self._options, budget)


def _reader(sample: Sample) -> Reader | None:
    reader = _BY_MAGIC.get(sample.head(4))
    if reader is None:
        if sample.trail and sample.head(3).startswith(biff12.STARTS):
            return biff12.unpack
        return _xml if ooxml.matches(sample) else None
    if reader is activemime.unpack and sample.head(len(activemime.MAGIC)) != activemime.MAGIC:
        return None
    return reader


def _xml(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """A part of OOXML may have any name, a manifest's too; no program reads one with the root of a module."""
    if sample.trail and odf.is_module(sample, budget):
        yield from odf.unpack_module(sample, options, budget)
        return
    yield from odf.unpack_manifest(sample)
    yield from ooxml.unpack(sample, options, budget)
