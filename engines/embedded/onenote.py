"""OneNote sections: the files attached to them (MS-ONESTORE §2.6.13, FileDataStoreObject)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/onenote"
FORMAT: Final = "onenote"
_HEADER: Final = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
_LENGTH_BYTES: Final = 8
_DATA_AFTER: Final = 16 + _LENGTH_BYTES + 12
"""Past the mark, the length, and fields that say nothing."""


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields every attached file that its mark begins; their names stand elsewhere and are not looked up."""
    data = sample.data
    number = 0
    at = data.find(_HEADER)
    while at >= 0:
        budget.check_time()
        budget.take_member()
        number += 1
        length_at = at + len(_HEADER)
        size_bytes = int.from_bytes(data[length_at : length_at + _LENGTH_BYTES], "little")
        start = at + _DATA_AFTER
        end = min(start + size_bytes, sample.size_bytes)
        name = f"attachment-{number}"
        if end > start:
            budget.take_bytes(end - start)
            yield sample.member(bytes(data[start:end]), name)
        is_whole = start + size_bytes <= sample.size_bytes
        if not is_whole:
            yield findings.corrupt(FORMAT, (*sample.trail, name))
        at = data.find(_HEADER, end if is_whole else start)
