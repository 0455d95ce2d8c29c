"""ZIP archives, and whatever carries one behind or before something else: JAR, Office, installers, polyglots.

Members come in the directory's order, and once more as their local headers have it where these disagree. What lies
outside of the directory and of every member that it names is searched for local headers: readers that go from the
front see those members, and in a cut archive they are all there is.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from engines.archive import findings, zip_directory
from engines.archive.collect import NAME_BYTES, Unpacked, collect
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import unzstd
from engines.archive.streams import Broken, Buffered, Range, Source, Stream, inflate_zip, zip_lzma
from engines.archive.zip_directory import DESCRIPTOR_MAGIC, LOCAL_MAGIC, STREAMED, Directory, Entry
from engines.archive.zip_extents import Extents
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Finding, FindingKind, Sample

FORMAT: Final = "zip"
_MAGICS: Final = (LOCAL_MAGIC, b"PK\x05\x06", DESCRIPTOR_MAGIC)
_EMPTY_ARCHIVE_BYTES: Final = 22
_STORED: Final = 0
_DEFLATE: Final = 8
_AES: Final = 99
OVERLAP: Final = "archive.overlap"
END_RECORDS: Final = "archive.max_end_records"

_METHODS: Final[dict[int, Callable[[Source], Stream]]] = {
    _DEFLATE: inflate_zip,
    12: lambda source: Buffered(source, bz2.BZ2Decompressor()),
    14: zip_lzma,
    93: lambda source: unzstd(source, 1),
}


def matches(sample: Sample) -> bool:
    if sample.head(4) in _MAGICS:
        return True
    search = zip_directory.find_directory(sample.data)
    return search.directory is not None or search.gave_up


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields every member that can be read, then what the directory does not name."""
    search = zip_directory.find_directory(sample.data)
    extents = Extents(sample.size_bytes)
    if search.gave_up:
        yield findings.limit(END_RECORDS, sample.trail)
    elif search.directory is not None:
        yield from _listed(sample, search.directory, extents, limits, budget)
    elif sample.head(4) != b"PK\x05\x06" or sample.size_bytes < _EMPTY_ARCHIVE_BYTES:
        yield findings.corrupt(FORMAT, sample.trail)
    yield from _unlisted(sample, search.directory is not None, extents, limits, budget)


def _listed(
    sample: Sample, directory: Directory, extents: Extents, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """The members that the directory names, in its order."""
    reached = directory.start
    for entry in zip_directory.entries(sample.data, directory):
        budget.check_time()
        budget.take_member()
        reached = entry.next_record
        trail = (*sample.trail, entry.name)
        if entry.start < 0:
            yield findings.corrupt(FORMAT, trail)
            continue
        is_repeat = extents.is_repeat(entry.header, entry.end, entry.method)
        if not extents.take(entry.header, entry.end):
            # Members that share their bytes: no archiver writes that, a bomb does.
            yield findings.limit(OVERLAP, trail)
            if is_repeat or not extents.may_share(entry.end - entry.header):
                continue
        yield from _member(sample, entry, limits, budget)
        if not entry.agrees:
            yield findings.corrupt("zip-headers-disagree", trail)
        yield from _as_local(sample, entry, directory, extents, limits, budget)
    if reached != directory.end:
        yield findings.corrupt("zip-directory", sample.trail)
    extents.take(directory.start, min(reached, directory.end))


def _as_local(
    sample: Sample, entry: Entry, directory: Directory, extents: Extents, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """The member as readers see it that go from the front, where that may be another than the directory's."""
    if entry.agrees and (entry.packed_bytes or entry.method == _STORED or _ends_at_once(sample, entry)):
        return
    end = directory.start if entry.header < directory.start else sample.size_bytes
    local = zip_directory.local_entry(sample.data, entry.header, end)
    if local is None:
        return
    ends_alike = local.end == entry.end or (local.flags & STREAMED and entry.packed_bytes)
    if local.method == entry.method and ends_alike:
        return
    if not extents.may_share(local.end - local.start):
        yield findings.limit(OVERLAP, (*sample.trail, local.name))
        return
    for item in _member(sample, local, limits, budget):
        if not entry.agrees or isinstance(item, Sample) or item.kind is FindingKind.LIMIT:
            yield item


def _ends_at_once(sample: Sample, entry: Entry) -> bool:
    """Whether a record follows where compressed data would begin; no deflated data begins like one."""
    return sample.data[entry.start : entry.start + 4] in (LOCAL_MAGIC, DESCRIPTOR_MAGIC, b"PK\x01\x02", bytes(4))


def _member(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    if entry.is_folder:
        return
    trail = (*sample.trail, entry.name)
    if entry.name_bytes > limits.max_name_bytes:
        yield findings.limit(NAME_BYTES, trail)
    if entry.method == _AES:
        yield findings.encrypted(FORMAT, trail)
        return
    unpacked = _read(sample, entry, limits, budget)
    if unpacked is None:
        yield findings.unsupported(f"zip-method-{entry.method}", trail)
        # Android takes an unknown method for stored, and installs what it finds.
        source = Range(sample.data, entry.start, entry.end, budget)
        stored = collect(source, entry.end - entry.start, limits, budget)
        yield sample.member(stored.data, entry.name)
        yield from stored.shortfall(FORMAT, trail)
        return
    is_proven = unpacked.is_whole and zlib.crc32(unpacked.data) == entry.crc
    if entry.flags & zip_directory.ENCRYPTED and not is_proven:
        # Data that unpacks to its checksum was never encrypted, whatever the flag says; of other data nobody knows,
        # and Android installs it as it is.
        if unpacked.data and not unpacked.broken:
            yield sample.member(unpacked.data, entry.name)
        yield findings.encrypted(FORMAT, trail)
        yield from unpacked.limits(trail)
        return
    if unpacked.data:
        yield sample.member(unpacked.data, entry.name)
    if unpacked.is_whole and not is_proven and not _has_no_crc(entry):
        yield findings.corrupt(FORMAT, trail)
    yield from unpacked.shortfall(FORMAT, trail)


def _has_no_crc(entry: Entry) -> bool:
    return bool(entry.flags & STREAMED) and not entry.crc


def _read(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Unpacked | None:
    """The member's bytes, or nothing for a method nobody knows."""
    source = Range(sample.data, entry.start, entry.end, budget)
    held_bytes = entry.end - entry.start
    if entry.method == _STORED:
        stored = collect(source, held_bytes, limits, budget)
        return Unpacked(stored.data, stored.limit, Broken("cut short") if held_bytes < entry.packed_bytes else None)
    opener = _METHODS.get(entry.method)
    if opener is None:
        return None
    try:
        return collect(opener(source), held_bytes, limits, budget)
    except Broken as error:
        return Unpacked(b"", "", error)
    except LimitReached as reached:
        return Unpacked(b"", reached.limit)


def _unlisted(
    sample: Sample, has_directory: bool, extents: Extents, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """The members behind local headers in the gaps that the directory leaves.

    With a directory, bytes in a gap that only look like a header are no damage; without one, they are all there is.
    """
    for start, end in extents.gaps():
        at = sample.data.find(LOCAL_MAGIC, start, end)
        while at >= 0:
            budget.check_time()
            entry = zip_directory.local_entry(sample.data, at, end)
            resume = at + len(LOCAL_MAGIC)
            if entry is not None:
                budget.take_member()
                for item in _member(sample, entry, limits, budget):
                    if not has_directory or isinstance(item, Sample) or item.kind is FindingKind.LIMIT:
                        yield item
                resume = max(resume, _end_of(sample, entry))
            at = sample.data.find(LOCAL_MAGIC, resume, end)


def _end_of(sample: Sample, entry: Entry) -> int:
    """Where the search goes on after a member of unknown length: at its data descriptor, else after its header."""
    if not entry.flags & STREAMED or entry.packed_bytes:
        return entry.end
    at = sample.data.find(DESCRIPTOR_MAGIC, entry.start, entry.end)
    return at if at >= 0 else entry.start
