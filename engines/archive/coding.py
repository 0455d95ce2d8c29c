"""Content-Encoding: undoes the codings a body was declared with (RFC 9110 §8.4), the last one first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from engines.archive import findings
from engines.archive.collect import collect
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import Brotli, unzstd
from engines.archive.streams import Broken, Deflate, Range, Source, Stream, gunzip
from icapd.scan.model import NO_CODING, Budget, Finding, Sample

MAX_CODINGS: Final = 4
_WINDOWS_BYTES: Final = MAX_CODINGS * 16 * 1024 * 1024
"""What the decoders may take: a window of brotli is the largest."""

_DECODERS: Final[dict[str, Callable[[Source, int], Stream]]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "deflate": lambda source, _: Deflate(source),
    "br": lambda source, _: Brotli(source),
    "zstd": unzstd,
}


def codings_of(declared: str) -> list[str]:
    """The codings in the order they were applied."""
    tokens = (token.strip().lower() for token in declared.split(","))
    return [token for token in tokens if token not in NO_CODING]


def decode(sample: Sample, codings: list[str], limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the decoded body.

    Decoded to its last byte it is the body itself, so it keeps the trail; otherwise it is one reading among others, a
    member named after the codings, and what follows the coded data is another.
    """
    name = ",".join(codings)
    unknown = [coding for coding in codings if coding not in _DECODERS]
    if unknown:
        token = re.sub(r"[^a-z0-9.-]", "_", unknown[0])[:32]
        yield findings.unsupported(f"coding-{token}", sample.trail)
        return
    if len(codings) > MAX_CODINGS:
        yield findings.limit("archive.max_depth", sample.trail)
        return
    budget.take_member()
    body = Range(sample.data, 0, sample.size_bytes, budget)
    streams: list[Stream] = [body]
    try:
        for coding in reversed(codings):
            streams.append(_DECODERS[coding](streams[-1], limits.max_members))
    except Broken:
        yield findings.corrupt("coding", sample.trail)
        yield from _with_fewer(sample, codings, limits, budget)
        return
    decoded = collect(streams[-1], sample.size_bytes, limits, budget, _WINDOWS_BYTES)
    rests = (collect(stream.rest(), sample.size_bytes, limits, budget) for stream in reversed(streams[1:]))
    trailing = [rest for rest in rests if rest.data.strip(b"\x00") or not rest.is_whole] if decoded.is_whole else []
    streams.clear()
    if decoded.is_whole and not trailing:
        yield Sample(decoded.data, sample.name, sample.trail, sample.declared_type)
        return
    if decoded.data:
        yield sample.member(decoded.data, name)
    yield from decoded.shortfall("coding", sample.trail)
    for rest in trailing:
        yield sample.member(rest.data, "trailing-data")
        yield from rest.shortfall("coding", sample.trail)
    if not decoded.is_whole:
        yield from _with_fewer(sample, codings, limits, budget)


def _with_fewer(
    sample: Sample, codings: list[str], limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """What is left when the first-named coding was never applied: some receivers show that."""
    if len(codings) > 1:
        yield from decode(sample, codings[1:], limits, budget)
