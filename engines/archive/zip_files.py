"""ZIP archives, and whatever carries one behind or before something else: JAR, Office, installers, polyglots.

Members come in the directory's order. What lies outside of every member that the directory names is searched for
local headers: readers that go from the front see those members, and in a cut archive they are all there is.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from engines.archive import findings, zip_directory
from engines.archive.collect import Unpacked, collect
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import unzstd
from engines.archive.streams import Broken, Buffered, Range, Source, Stream, inflate_zip, zip_lzma
from engines.archive.zip_directory import LOCAL_MAGIC, Directory, Entry
from icapd.scan.model import Budget, Finding, FindingKind, Sample

FORMAT: Final = "zip"
_MAGICS: Final = (LOCAL_MAGIC, b"PK\x05\x06", b"PK\x07\x08")
_EMPTY_ARCHIVE_BYTES: Final = 22
_STORED: Final = 0
_DEFLATE: Final = 8
_AES: Final = 99

_METHODS: Final[dict[int, Callable[[Source], Stream]]] = {
    _DEFLATE: inflate_zip,
    12: lambda source: Buffered(source, bz2.BZ2Decompressor()),
    14: zip_lzma,
    93: lambda source: unzstd(source, 1),
}


def matches(sample: Sample) -> bool:
    return sample.head(4) in _MAGICS or zip_directory.find_directory(sample.data) is not None


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields every member that can be read, then what the directory does not name."""
    directory = zip_directory.find_directory(sample.data)
    seen: list[tuple[int, int]] = []
    if directory is None:
        is_empty_archive = sample.head(4) == b"PK\x05\x06" and sample.size_bytes >= _EMPTY_ARCHIVE_BYTES
        if not is_empty_archive:
            yield findings.corrupt(FORMAT, sample.trail)
    else:
        claimed_bytes = 0
        for entry in zip_directory.entries(sample.data, directory):
            budget.check_time()
            budget.take_member()
            claimed_bytes += entry.end - entry.start
            if claimed_bytes > sample.size_bytes:
                # Members that share their bytes: no archiver writes that, a bomb does.
                yield findings.corrupt("zip-overlapping-members", sample.trail)
                return
            if entry.start < 0:
                yield findings.corrupt(FORMAT, (*sample.trail, entry.name))
                continue
            seen.append((entry.header, entry.end))
            yield from _member(sample, entry, limits, budget)
            if entry.method != entry.local_method:
                # Readers that go from the front see another member than those that use the directory.
                yield findings.corrupt("zip-headers-disagree", (*sample.trail, entry.name))
                local = zip_directory.local_entry(sample.data, entry.header, directory.start)
                yield from _member(sample, local, limits, budget) if local else ()
    yield from _unlisted(sample, directory, seen, limits, budget)


def _member(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    if entry.is_folder:
        return
    trail = (*sample.trail, entry.name)
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
    is_damaged = bool(unpacked.broken) or (
        unpacked.is_whole and zlib.crc32(unpacked.data) != entry.crc and not _has_no_crc(entry)
    )
    if entry.flags & zip_directory.ENCRYPTED and (is_damaged or not unpacked.is_whole):
        # Data that unpacks to its checksum was never encrypted, whatever the flag says.
        yield findings.encrypted(FORMAT, trail)
        return
    if unpacked.data:
        yield sample.member(unpacked.data, entry.name)
    if is_damaged and not unpacked.broken:
        yield findings.corrupt(FORMAT, trail)
    yield from unpacked.shortfall(FORMAT, trail)


def _has_no_crc(entry: Entry) -> bool:
    return bool(entry.flags & zip_directory.STREAMED) and not entry.crc


def _read(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Unpacked | None:
    """The member's bytes, or nothing for a method nobody knows."""
    source = Range(sample.data, entry.start, entry.end, budget)
    held_bytes = entry.end - entry.start
    if entry.method == _STORED:
        stored = collect(source, held_bytes, limits, budget)
        return Unpacked(stored.data, stored.limit, "cut short" if held_bytes < entry.packed_bytes else "")
    opener = _METHODS.get(entry.method)
    if opener is None:
        return None
    try:
        return collect(opener(source), held_bytes, limits, budget)
    except Broken as error:
        return Unpacked(b"", "", str(error))


def _unlisted(
    sample: Sample,
    directory: Directory | None,
    seen: list[tuple[int, int]],
    limits: ArchiveOptions,
    budget: Budget,
) -> Iterator[Sample | Finding]:
    """The members behind local headers in the gaps that the directory leaves.

    With a directory, bytes in a gap that only look like a header are no damage; without one, they are all there is.
    """
    end = directory.start if directory else sample.size_bytes
    covered = [(0, 0), *sorted(seen), (end, end)]
    reached = 0
    for (_, used_to), (next_from, _) in pairwise(covered):
        reached = max(reached, used_to)
        at = sample.data.find(LOCAL_MAGIC, reached, next_from)
        while at >= 0:
            budget.check_time()
            entry = zip_directory.local_entry(sample.data, at, next_from)
            resume = at + len(LOCAL_MAGIC)
            if entry is not None:
                budget.take_member()
                for item in _member(sample, entry, limits, budget):
                    if directory is None or isinstance(item, Sample) or item.kind is FindingKind.LIMIT:
                        yield item
                resume = max(resume, _end_of(sample, entry))
            at = sample.data.find(LOCAL_MAGIC, resume, next_from)


def _end_of(sample: Sample, entry: Entry) -> int:
    """Where the search goes on after a member of unknown length: at its data descriptor, else after its header."""
    if not entry.flags & zip_directory.STREAMED or entry.packed_bytes:
        return entry.end
    at = sample.data.find(b"PK\x07\x08", entry.start, entry.end)
    return at if at >= 0 else entry.start
