"""ActiveMime: how MHTML and Word 2003's XML carry a compound file with macros, compressed behind a short head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.inflate import ZLIB, InflateError, decompressor
from engines.office import findings
from engines.office.limits import OfficeOptions
from icapd.scan.model import Budget, Finding, Sample

MAGIC: Final = b"ActiveMime"
_STARTS: Final = (0x32, 0x22A)
"""Where programs have been seen to begin the compressed data."""
_BLOCK: Final = 256 * 1024


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """The file inside. Raises: LimitReached, DeadlineReached."""
    head = sample.head(4096)
    starts = dict.fromkeys([*_STARTS, head.find(b"\x78\x01"), head.find(b"\x78\x9c"), head.find(b"\x78\xda")])
    for start in starts:
        content = _inflated(sample, start, budget) if start >= 0 else b""
        if content:
            budget.take_member()
            yield sample.member(content, "editdata")
            return
    yield findings.corrupt("activemime", sample.trail)


def _inflated(sample: Sample, start: int, budget: Budget) -> bytes:
    inflater = decompressor(ZLIB)
    pending = bytes(sample.data[start:])
    blocks: list[bytes] = []
    total_bytes = 0
    try:
        while pending and not inflater.eof:
            budget.check_time()
            block = inflater.decompress(pending, _BLOCK)
            pending = inflater.unconsumed_tail
            budget.take_bytes(len(block))
            total_bytes += len(block)
            budget.check_ratio(sample.size_bytes, total_bytes)
            blocks.append(block)
            if not block:
                break
    except InflateError:
        pass
    return b"".join(blocks)
