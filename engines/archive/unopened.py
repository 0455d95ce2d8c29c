"""Archives that are recognised but not looked into. They were not judged at all: files are what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Finding, Sample

_CONTAINERS: Final[dict[str, str]] = {
    "application/x-installshield": "installshield",
    "application/x-ace-compressed": "ace",
    "application/x-arj": "arj",
    "application/vnd.ms-htmlhelp": "chm",
    "application/x-ms-wim": "wim",
    "application/x-vhd": "vhd",
    "application/x-vhdx": "vhdx",
    "application/vnd.squashfs": "squashfs",
    "application/x-udf-image": "udf",
    "application/vnd.ms-outlook-pst": "pst",
}


MEDIA_TYPES: Final = frozenset(_CONTAINERS)


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    yield findings.not_opened(_CONTAINERS[sample.identity.media_type], sample.trail)
