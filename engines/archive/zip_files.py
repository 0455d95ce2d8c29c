"""ZIP archives, and whatever carries one behind or before something else: JAR, Office, installers, polyglots.

Members come in the directory's order, and once more as their local headers have it where these disagree. What lies
outside of the directory and of every member that it names is searched for local headers: readers that go from the
front see those members, and in a cut archive they are all there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings, self_extracting, zip_directory, zip_methods, zip_passwords
from engines.archive.collect import NAME_BYTES, collect
from engines.archive.limits import ArchiveOptions
from engines.archive.streams import Range, Source
from engines.archive.zip_directory import (
    DESCRIPTOR_MAGIC,
    LOCAL_MAGIC,
    MAX_OTHER_END_RECORDS,
    STREAMED,
    Directory,
    Entry,
    Search,
)
from engines.archive.zip_extents import Extents
from engines.archive.zip_methods import AES, STORED
from engines.inflate import crc32
from icapd.scan.model import Budget, Buffer, Finding, FindingKind, Sample

FORMAT: Final = "zip"
_MAGICS: Final = (LOCAL_MAGIC, b"PK\x05\x06", DESCRIPTOR_MAGIC)
_EMPTY_ARCHIVE_BYTES: Final = 22
_SMALL_BYTES: Final = 64 * 1024
OVERLAP: Final = "archive.overlap"
END_RECORDS: Final = "archive.max_end_records"


def bears_mark(data: Buffer) -> bool:
    if data[:4] in _MAGICS:
        return True
    search = zip_directory.find_directory(data)
    return bool(search.directories) or search.gave_up


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields every member that can be read, then what the directory does not name."""
    search = zip_directory.find_directory(sample.data)
    extents = Extents(sample.size_bytes)
    if search.gave_up:
        yield findings.limit(END_RECORDS, sample.trail)
    elif search.directories:
        yield from _listed(sample, search.directories[0], extents, limits, budget)
        for other in _others(sample, search, extents):
            if isinstance(other, Finding):
                yield other
            else:
                yield from _listed(sample, other, extents, limits, budget, is_first=False)
    elif sample.head(4) != b"PK\x05\x06" or sample.size_bytes < _EMPTY_ARCHIVE_BYTES:
        yield findings.corrupt(FORMAT, sample.trail)
    yield from _unlisted(sample, bool(search.directories), extents, limits, budget)
    yield from self_extracting.between(sample, extents.gaps(), budget)


def _others(sample: Sample, search: Search, extents: Extents) -> Iterator[Directory | Finding]:
    """The directories that other readers take: by other fields of the end record, or by another end record.

    One inside a member belongs to the member.
    """
    yield from search.directories[1:]
    seen = {directory.reading for directory in search.directories}
    looks_left = MAX_OTHER_END_RECORDS
    for start, end in list(extents.gaps()):
        for at in zip_directory.end_records_between(sample.data, start, end):
            if not looks_left:
                yield findings.limit(END_RECORDS, sample.trail)
                return
            looks_left -= 1
            for directory in zip_directory.directories_at(sample.data, at):
                if directory.reading not in seen:
                    seen.add(directory.reading)
                    yield directory


def _listed(
    sample: Sample,
    directory: Directory,
    extents: Extents,
    limits: ArchiveOptions,
    budget: Budget,
    *,
    is_first: bool = True,
) -> Iterator[Sample | Finding]:
    """The members that a directory names, in its order, but for those that one before it names."""
    reached = directory.start
    is_as_said = True
    for entry in zip_directory.entries(sample.data, directory):
        budget.check_time()
        budget.take_member()
        reached = entry.next_record
        trail = (*sample.trail, entry.name)
        if entry.start < 0:
            yield findings.corrupt(FORMAT, trail)
            continue
        is_repeat = extents.is_repeat(entry.header, entry.end, entry.method)
        if is_repeat and not is_first:
            continue
        if not extents.take(entry.header, entry.end):
            # Members that share their bytes: no archiver writes that, a bomb does.
            yield findings.limit(OVERLAP, trail)
            if is_repeat or not extents.may_share(entry.end - entry.header):
                continue
        if is_as_said and _is_small(entry, limits, budget):
            plain = zip_methods.read_quickly(sample.data, entry)
            if plain is not None:
                budget.take_bytes(len(plain))
                yield sample.member(plain, entry.name)
                continue
            is_as_said = False  # so that no more than one member is read in vain
        yield from _member(sample, entry, limits, budget)
        if not entry.agrees:
            yield findings.corrupt("zip-headers-disagree", trail)
        yield from _as_local(sample, entry, directory, extents, limits, budget)
    if is_first and reached != directory.end:
        yield findings.corrupt("zip-directory", sample.trail)
    extents.take(directory.start, min(reached, directory.end))


def _is_small(entry: Entry, limits: ArchiveOptions, budget: Budget) -> bool:
    """Whether a member by its headers reaches no limit, by far."""
    unpacked = entry.unpacked_bytes
    return (
        entry.agrees
        and 0 < unpacked <= _SMALL_BYTES
        and entry.packed_bytes <= _SMALL_BYTES
        and unpacked <= limits.max_member_bytes
        and unpacked <= budget.bytes_left
        and unpacked <= budget.held_bytes_left
        and unpacked <= budget.ratio_floor_bytes
        and entry.name_bytes <= limits.max_name_bytes
    )


def _as_local(
    sample: Sample, entry: Entry, directory: Directory, extents: Extents, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """The member as readers see it that go from the front, where that may be another than the directory's."""
    if entry.agrees and (entry.packed_bytes or entry.method == STORED or _ends_at_once(sample, entry)):
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
    if entry.method == AES:
        yield from _locked(sample, entry, limits, budget)
        return
    content = zip_methods.read_member(sample.data, entry, limits, budget)
    if content is None:
        yield findings.unsupported(f"zip-method-{entry.method}", trail)
        # Android takes an unknown method for stored, and installs what it finds.
        stored = collect(Range(sample.data, entry.start, entry.end, budget), entry.end - entry.start, limits, budget)
        yield sample.member(stored.data, entry.name)
        yield from stored.shortfall(FORMAT, trail)
        return
    unpacked, rest = content
    is_proven = unpacked.is_whole and crc32(unpacked.data) == entry.crc
    if entry.flags & zip_directory.ENCRYPTED and not is_proven:
        # Data that unpacks to its checksum was never encrypted, whatever the flag says; of other data nobody knows,
        # and Android installs it as it is.
        if unpacked.data and not unpacked.broken:
            yield sample.member(unpacked.data, entry.name)
        yield from _locked(sample, entry, limits, budget)
        yield from unpacked.limits(trail)
        return
    if unpacked.data:
        yield sample.member(unpacked.data, entry.name)
    if unpacked.is_whole and not is_proven and not _has_no_crc(entry):
        yield findings.corrupt(FORMAT, trail)
    yield from unpacked.shortfall(FORMAT, trail)
    if entry.method == STORED:
        if unpacked.is_whole and entry.end - entry.start < entry.packed_bytes:
            yield findings.corrupt(FORMAT, trail)
    elif unpacked.is_whole and (entry.packed_bytes or not entry.flags & STREAMED):
        yield from _behind(sample, entry, rest, limits, budget)


def _locked(sample: Sample, entry: Entry, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """An encrypted member, by the passwords there are."""
    trail = (*sample.trail, entry.name)
    unpacked = zip_passwords.decrypted(sample, entry, limits, budget)
    if unpacked is None:
        yield findings.encrypted(FORMAT, trail)
        return
    if unpacked.data:
        yield sample.member(unpacked.data, entry.name)
    yield from unpacked.shortfall(FORMAT, trail)


def _behind(
    sample: Sample, entry: Entry, rest: Source, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """What lies between the end of the compressed data and the end that the headers claim."""
    trailing = collect(rest, entry.end - entry.start, limits, budget)
    if trailing.data.strip(b"\x00"):
        # Readers that go from the front pass over a data descriptor, with its mark or without.
        next_header = trailing.data.find(LOCAL_MAGIC, 0, zip_methods.DESCRIPTOR_BYTES + len(LOCAL_MAGIC))
        yield sample.member(trailing.data[max(0, next_header) :], "trailing-data")
    yield from trailing.shortfall(FORMAT, (*sample.trail, entry.name))


def _has_no_crc(entry: Entry) -> bool:
    return bool(entry.flags & STREAMED) and not entry.crc


def _unlisted(
    sample: Sample, has_directory: bool, extents: Extents, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """The members behind local headers in the gaps that the directory leaves.

    With a directory, bytes in a gap that only look like a header are no damage; without one, they are all there is.
    """
    for start, end in list(extents.gaps()):
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
                if entry.method == STORED:
                    extents.take(at, resume)  # of what does not unpack, nobody has seen the bytes
            at = sample.data.find(LOCAL_MAGIC, resume, end)


def _end_of(sample: Sample, entry: Entry) -> int:
    """Where the search goes on after a member of unknown length: at its data descriptor, else after its header."""
    if not entry.flags & STREAMED or entry.packed_bytes:
        return entry.end
    at = sample.data.find(DESCRIPTOR_MAGIC, entry.start, entry.end)
    return at if at >= 0 else entry.start
