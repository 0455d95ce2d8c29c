"""Programs that unpack themselves: a 7z or RAR archive behind a program, whole or encrypted. ZIP has its own search.

The mark alone proves nothing, programs that read archives hold it too: the header behind it must meet its checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from engines.archive.rar_volumes import vint
from engines.inflate import crc32
from icapd.scan.model import Budget, Buffer, Finding, Sample

PROGRAMS: Final = b"MZ", b"\x7fE", b"\xcf\xfa", b"\xca\xfe"
MAX_MARKS: Final = 64
MAX_ARCHIVES: Final = 16
MARKS: Final = "archive.max_marks"
_SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"
_RAR: Final = b"Rar!\x1a\x07"
_HEAD_BYTES: Final = 4096


def bears_mark(data: Buffer) -> bool:
    """One search for each mark, in programs alone."""
    return data[:2] in PROGRAMS and (data.find(_SEVEN_ZIP) >= 0 or data.find(_RAR) >= 0)


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields each archive from its mark to the program's end; it is opened as what it is.

    A header that meets its checksum may be a bait with nothing behind it, so the first is not the last.
    """
    data = sample.data
    for mark in (_SEVEN_ZIP, _RAR):
        at = data.find(mark)
        archives_left = MAX_ARCHIVES
        for _ in range(MAX_MARKS):
            if at < 0:
                break
            if _is_header(bytes(data[at : at + _HEAD_BYTES])):
                if not archives_left:
                    yield findings.limit(MARKS, sample.trail)
                    break
                archives_left -= 1
                budget.take_member()
                budget.take_bytes(sample.size_bytes - at)
                yield sample.member(bytes(data[at:]), "appended-archive")
            at = data.find(mark, at + 1)
        else:
            if at >= 0:
                yield findings.limit(MARKS, sample.trail)


def _is_header(head: bytes) -> bool:
    """Whether the first header behind a mark meets its checksum."""
    if head.startswith(_SEVEN_ZIP):
        return len(head) >= 32 and crc32(head[12:32]) == int.from_bytes(head[8:12], "little")
    if head[6:7] == b"\x00" and len(head) >= 14:
        size_bytes = int.from_bytes(head[12:14], "little")
        return crc32(head[9 : 7 + size_bytes]) & 0xFFFF == int.from_bytes(head[7:9], "little")
    if head[6:8] == b"\x01\x00" and len(head) >= 16:
        size_bytes, start = vint(head, 12)
        return crc32(head[12 : start + size_bytes]) == int.from_bytes(head[8:12], "little")
    return False
