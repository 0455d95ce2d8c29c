"""What is recognised but not looked into, so that nobody takes it for inspected.

An archive that cannot be opened was not judged at all: files are what it is for. Of a document the rules have seen
all but what it embeds: that is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Finding, Sample, Severity

_DOCUMENTS: Final[dict[str, str]] = {
    "application/onenote": "onenote",
    "message/rfc822": "mail",
}
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
    "application/vnd.ms-tnef": "tnef",
    "application/vnd.ms-outlook-pst": "pst",
}


def matches(sample: Sample) -> bool:
    media_type = sample.identity.media_type
    return media_type in _CONTAINERS or media_type in _DOCUMENTS


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    media_type = sample.identity.media_type
    if media_type in _CONTAINERS:
        yield findings.not_opened(_CONTAINERS[media_type], sample.trail, Severity.MEDIUM)
    else:
        yield findings.not_opened(_DOCUMENTS[media_type], sample.trail, Severity.INFO)
