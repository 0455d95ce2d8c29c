"""The unpacker: asks each family of formats whether it knows the sample, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from engines.embedded import cms, mail, onenote, openpgp, shortcut, text, tnef, widened
from engines.embedded.findings import ENGINE
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample


class Format(Protocol):
    """One family of formats; each is a module with this function."""

    def unpack(self, sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]: ...


_BY_TYPE: Final[dict[str, Format]] = {
    tnef.MEDIA_TYPE: tnef,
    onenote.MEDIA_TYPE: onenote,
    shortcut.MEDIA_TYPE: shortcut,
}


class EmbeddedUnpacker:
    """Finds what is embedded in a sample. Keeps nothing between samples."""

    name = ENGINE

    def __init__(self, limits: EmbeddedOptions) -> None:
        self._limits = limits

    def opens(self, sample: Sample) -> bool:
        return (
            sample.identity.media_type in _BY_TYPE
            or mail.matches(sample)
            or text.matches(sample, self._limits)
            or cms.matches(sample)
            or openpgp.matches(sample)
            or widened.matches(sample)
        )

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        # A mark is two bytes that may stand before anything, so what has one is read both ways.
        yield from widened.unpack(sample, self._limits, budget)
        yield from cms.unpack(sample, self._limits, budget)
        yield from openpgp.unpack(sample, self._limits, budget)
        is_mail = mail.matches(sample)
        if is_mail:
            yield from mail.unpack(sample, self._limits, budget)
        known = _BY_TYPE.get(sample.identity.media_type)
        if known is not None:
            yield from known.unpack(sample, self._limits, budget)
        elif not (is_mail and mail.is_alone(sample)) and text.is_read(sample):
            yield from text.unpack(sample, self._limits, budget)
