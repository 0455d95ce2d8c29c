"""Runs the document engines over a body as a scanner does: with the walk, the identifier and the archive engine."""

from __future__ import annotations

import time

from engines.archive.limits import ArchiveOptions
from engines.archive.unpacker import ArchiveUnpacker
from engines.identify.identifier import ContentIdentifier
from engines.office import OfficeOptions
from engines.office.unpacker import OfficeUnpacker
from engines.pdf import PdfOptions
from engines.pdf.unpacker import PdfUnpacker
from icapd.scan.engine_api import Engine
from icapd.scan.merge import merge
from icapd.scan.model import Budget, EngineReport, FindingKind, Outcome, Sample, ScanReport
from icapd.scan.tree import EngineSet, examine

ARCHIVE = ArchiveUnpacker(ArchiveOptions())


class Seen:
    """An engine that keeps what it was shown, by the names of its trail."""

    name = "seen"

    def __init__(self) -> None:
        self.samples: dict[tuple[str, ...], bytes] = {}

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        self.samples[sample.trail] = bytes(sample.data)
        return EngineReport(self.name, Outcome.NOTHING_FOUND)


def scan(
    data: bytes,
    *,
    options: OfficeOptions | None = None,
    pdf: PdfOptions | None = None,
    seen: Engine | None = None,
    budget: Budget | None = None,
) -> ScanReport:
    documents = (OfficeUnpacker(options or OfficeOptions()), PdfUnpacker(pdf or PdfOptions()))
    engines = EngineSet(ContentIdentifier(None), (seen,) if seen else (), (ARCHIVE, *documents))
    budget = budget or ARCHIVE.budget(time.monotonic() + 20)
    return merge(examine(Sample(data), engines, budget), frozenset({"office", "pdf", "archive"}))


def members(data: bytes) -> dict[tuple[str, ...], bytes]:
    """Everything that any engine would see of a body, by its trail."""
    seen = Seen()
    scan(data, seen=seen)
    return seen.samples


def names(report: ScanReport) -> set[str]:
    return {finding.name for finding in report.findings}


def telling(report: ScanReport) -> set[tuple[FindingKind, str]]:
    """The findings that are more than a record."""
    return {(finding.kind, finding.name) for finding in report.findings if finding.verdict != "CLEAN"}
