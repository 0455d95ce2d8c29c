"""Archives behind something else: a 7z, RAR or cabinet in a program that unpacks itself, 7z or RAR behind a picture.

Behind another archive as well: UnRAR looks for its mark from any beginning. What lies within a container is found by
the container's own reader, stored or not, and a second time would be one too many for packages of packages; so only
what is behind its end is searched, and of a ZIP what no member of it takes (`between`, for `zip_files`).

The mark alone proves nothing, programs that read archives hold it too: the header behind it must meet its checksum,
or in a cabinet, which has none, its own sizes. ZIP has its own search. Shell scripts have a compressed stream behind
their last line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from engines.archive import container_ends, findings
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
_CABINET: Final = b"MSCF"
_CABINET_VERSION: Final = b"\x03\x01"
_SHELL: Final = "text/x-shellscript"
_STREAMS: Final = (b"\n\x1f\x8b\x08", b"\nBZh", b"\n\xfd7zXZ\0", b"\n\x28\xb5\x2f\xfd", b"\n\x5d\0\0")
"""gzip, bzip2, xz, zstd and LZMA at the beginning of a line."""
_HEAD_BYTES: Final = 4096
MAX_STUB_BYTES: Final = 2 * 1024 * 1024
"""Before an archive in what is no program: archivers look no further (UnRAR's MAXSFXSIZE)."""


_CONTAINERS: Final = frozenset({"archive", "office", "mail"})
"""Families whose members are found by their own readers, and may be stored as they are."""
_RTF: Final = "application/rtf"
"""Which writes what it holds as digits."""
_ZIPS: Final = b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"Cr24"


def bears_mark(sample: Sample) -> bool:
    """One search for each mark: programs are searched whole, anything else that is no container at its beginning.

    Nearly every sample is asked: a search for a mark's last byte, which text seldom has, is fifty times faster than
    one for the mark, and one for the mark from the back twice as fast as one from the front.
    """
    reach = _reach(sample)
    if not reach:
        return False
    data = sample.data
    return any(data.find(mark[-1:], 1, reach) >= 0 and data.rfind(mark, 1, reach) >= 0 for mark in _marks(sample))


def _reach(sample: Sample) -> int:
    """Up to where a mark may end."""
    if sample.data[:2] in PROGRAMS or sample.identity.media_type == _SHELL:
        return sample.size_bytes
    known = sample.identity
    if (
        known.family in _CONTAINERS
        and known.media_type != _RTF
        and known.media_type not in container_ends.MEDIA_TYPES
    ):
        return 0
    return min(sample.size_bytes, MAX_STUB_BYTES)


def _marks(sample: Sample) -> tuple[bytes, ...]:
    if sample.identity.media_type == _SHELL:
        return (_SEVEN_ZIP, _RAR, *_STREAMS)
    return (_SEVEN_ZIP, _RAR, _CABINET) if sample.data[:2] in PROGRAMS else (_SEVEN_ZIP, _RAR)


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields each archive from its mark to the sample's end; it is opened as what it is."""
    reach, media_type = _reach(sample), sample.identity.media_type
    is_container = media_type in container_ends.MEDIA_TYPES and sample.data[:2] not in PROGRAMS
    gaps = container_ends.gaps_of(media_type, sample.data, reach) if is_container else [(1, reach)]
    yield from _archives(sample, gaps, budget)


def between(sample: Sample, gaps: Iterable[tuple[int, int]], budget: Budget) -> Iterator[Sample | Finding]:
    """The same for what the members of a ZIP leave, unless the sample is searched as something else."""
    if sample.head(4) in _ZIPS:
        yield from _archives(sample, [(start, min(end, MAX_STUB_BYTES)) for start, end in gaps], budget)


def _archives(sample: Sample, gaps: list[tuple[int, int]], budget: Budget) -> Iterator[Sample | Finding]:
    """A header that meets its checksum may be a bait with nothing behind it, so the first is not the last; and the
    size that a cabinet claims may cover the one that is meant.
    """
    data = sample.data
    for mark in _marks(sample):
        archives_left = MAX_ARCHIVES
        for number, at in enumerate(_places(data, mark, gaps)):
            if number >= MAX_MARKS:
                yield findings.limit(MARKS, sample.trail)
                break
            end = _end(data, at)
            if end <= at:
                continue
            if not archives_left:
                yield findings.limit(MARKS, sample.trail)
                break
            archives_left -= 1
            budget.take_member()
            budget.take_bytes(end - at)
            start = at + mark.startswith(b"\n")
            yield sample.member(bytes(data[start:end]), "appended-archive")


def _places(data: Buffer, mark: bytes, gaps: list[tuple[int, int]]) -> Iterator[int]:
    for start, end in gaps:
        at = data.find(mark, start, end)
        while at >= 0:
            yield at
            at = data.find(mark, at + 1, end)


def _end(data: Buffer, at: int) -> int:
    """Where the archive that begins at a mark ends at the latest; 0 where none begins."""
    head = bytes(data[at : at + _HEAD_BYTES])
    if head.startswith(b"\n"):
        return len(data) if not head[1:].isascii() or b"\0" in head else 0
    if not head.startswith(_CABINET):
        return len(data) if _is_header(head) else 0
    size_bytes, files_at = int.from_bytes(head[8:12], "little"), int.from_bytes(head[16:20], "little")
    is_cabinet = head[24:26] == _CABINET_VERSION and 36 <= files_at < size_bytes
    return min(at + size_bytes, len(data)) if is_cabinet else 0


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
