"""Runs the archive engine over one sample, as the walk does for one level."""

from __future__ import annotations

import time
from pathlib import Path

from engines.archive import SPEC, ArchiveOptions
from engines.archive.unpacker import ArchiveUnpacker
from engines.identify.identifier import ContentIdentifier
from icapd.errors import LimitReached
from icapd.scan.model import Budget, Finding, FindingKind, Sample

TEXT = b"Soup for everyone, and there is plenty of it. " * 20
IDENTIFIER = ContentIdentifier(None)


def unpacker(options: ArchiveOptions | None = None) -> ArchiveUnpacker:
    options = options or ArchiveOptions()
    built = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(built, ArchiveUnpacker)
    return built


def unpack(
    sample: Sample, options: ArchiveOptions | None = None, budget: Budget | None = None
) -> list[Sample | Finding]:
    """Everything the engine yields; a raised limit is the last finding, as in the walk."""
    archive = unpacker(options)
    budget = budget or archive.budget(time.monotonic() + 20)
    sample.identity = IDENTIFIER.identify(sample)
    items: list[Sample | Finding] = []
    if not archive.opens(sample):
        return items
    try:
        items.extend(archive.unpack(sample, budget))
    except LimitReached as reached:
        items.append(Finding(FindingKind.LIMIT, reached.limit, "archive"))
    return items


def members(items: list[Sample | Finding]) -> list[Sample]:
    return [item for item in items if isinstance(item, Sample)]


def found(items: list[Sample | Finding]) -> list[tuple[FindingKind, str]]:
    return [(item.kind, item.name) for item in items if isinstance(item, Finding)]
