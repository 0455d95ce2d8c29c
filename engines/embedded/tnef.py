"""TNEF, the winmail.dat that Outlook makes of attachments (MS-OXTNEF): a row of attributes, each with its length."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/vnd.ms-tnef"
FORMAT: Final = "tnef"
_ATTRIBUTE: Final = struct.Struct("<BII")
_FIRST_AT: Final = 6
_CHECKSUM_BYTES: Final = 2
_MAX_ATTRIBUTES: Final = 100_000
_BEGIN: Final = 0x00069002
_TITLE: Final = 0x00018010
_DATA: Final = 0x0006800F
_PROPERTIES: Final = 0x00069005
_BODIES: Final = (0x0002800C, 0x00069003)
"""The text of the message, and its properties, which hold formatted text."""


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields each attachment, its properties, which may hold another message, and the text."""
    at, number, held, title = _FIRST_AT, 0, b"", ""
    is_whole = True
    for _ in range(_MAX_ATTRIBUTES):
        if not is_whole or at + _ATTRIBUTE.size > sample.size_bytes:
            break
        budget.check_time()
        _, kind, size_bytes = _ATTRIBUTE.unpack(sample.data[at : at + _ATTRIBUTE.size])
        at += _ATTRIBUTE.size
        is_whole = at + size_bytes <= sample.size_bytes
        value = bytes(sample.data[at : at + size_bytes]) if kind in _WANTED else b""
        at += size_bytes + _CHECKSUM_BYTES
        if kind == _BEGIN:
            yield from _attachment(sample, held, title, number, budget)
            number, held, title = number + 1, b"", ""
        elif kind == _TITLE:
            title = value.partition(b"\x00")[0].decode("utf-8", "replace")
        elif kind == _DATA:
            held = value
        elif value:
            yield from _attachment(sample, value, "properties" if kind == _PROPERTIES else "text", number, budget)
    yield from _attachment(sample, held, title, number, budget)
    if not is_whole or at + _ATTRIBUTE.size <= sample.size_bytes:
        yield findings.corrupt(FORMAT, sample.trail)


_WANTED: Final = frozenset({_TITLE, _DATA, _PROPERTIES, *_BODIES})


def _attachment(sample: Sample, data: bytes, name: str, number: int, budget: Budget) -> Iterator[Sample]:
    if data:
        budget.take_member()
        budget.take_bytes(len(data))
        yield sample.member(data, findings.member_name(name) or f"attachment-{number}")
