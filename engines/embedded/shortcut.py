"""Windows shortcuts (MS-SHLLINK): the command a shortcut runs, as text, and what was appended to it."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/x-ms-shortcut"
FORMAT: Final = "lnk"
_HEADER_BYTES: Final = 76
_FLAGS_AT: Final = 20
_HAS_TARGETS: Final = 0x01
_HAS_LINK_INFO: Final = 0x02
_IS_UNICODE: Final = 0x80
_STRINGS: Final = ((0x04, "name"), (0x08, "path"), (0x10, "folder"), (0x20, "arguments"), (0x40, "icon"))
_MAX_BLOCKS: Final = 64


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the command line, path and arguments as the shell would join them, and data behind the last block."""
    try:
        strings, end = _strings(sample)
        end = _blocks_end(sample, end)
    except (struct.error, IndexError):
        yield findings.corrupt(FORMAT, sample.trail)
        return
    command = " ".join(filter(None, (strings.get("path"), strings.get("arguments")))).encode("utf-8", "replace")
    for data, name in ((command, "command"), (bytes(sample.data[end:]), "appended-data")):
        if data:
            budget.take_member()
            budget.take_bytes(len(data))
            yield sample.member(data, name)


def _strings(sample: Sample) -> tuple[dict[str, str], int]:
    """The strings by what they are for, and where they end.

    Raises: struct.error, IndexError for a shortcut that is cut short.
    """
    data = sample.data
    (flags,) = struct.unpack("<I", data[_FLAGS_AT : _FLAGS_AT + 4])
    at = _HEADER_BYTES
    if flags & _HAS_TARGETS:
        at += 2 + struct.unpack("<H", data[at : at + 2])[0]
    if flags & _HAS_LINK_INFO:
        at += max(struct.unpack("<I", data[at : at + 4])[0], 4)
    found: dict[str, str] = {}
    width, decode = (2, codecs.utf_16_le_decode) if flags & _IS_UNICODE else (1, codecs.latin_1_decode)
    for bit, name in _STRINGS:
        if flags & bit:
            (count,) = struct.unpack("<H", data[at : at + 2])
            raw = data[at + 2 : at + 2 + count * width]
            found[name] = decode(raw, "replace")[0]
            at += 2 + count * width
            if at > sample.size_bytes:
                raise IndexError(name)
    return found, at


def _blocks_end(sample: Sample, at: int) -> int:
    """Where the extra data ends: a row of blocks, the last one smaller than its own length field."""
    for _ in range(_MAX_BLOCKS):
        head = sample.data[at : at + 4]
        if len(head) < 4:
            return sample.size_bytes
        size_bytes: int = struct.unpack("<I", head)[0]
        if size_bytes < 4:
            return at + 4
        at += size_bytes
    return at
