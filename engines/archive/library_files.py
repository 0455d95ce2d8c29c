"""Archives that libarchive reads: 7z, RAR, cabinets, tar, cpio, ISO 9660, LHA, ar and so Debian packages.

It lists them from memory, in their own order, and gives data a block at a time. Names are for people alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engines.archive import findings, rar_volumes, seven_passwords
from engines.archive.collect import NAME_BYTES, collect
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.names import member_name
from engines.archive.seven_passwords import Decrypted
from engines.archive.streams import LZMA_DICTIONARY_BYTES, Broken, Encrypted
from icapd.scan.model import Budget, Buffer, Finding, Sample


@dataclass(frozen=True)
class _Kind:
    """One format: its name in findings, libarchive's readers of it, whether a member is skipped by a seek, and
    whether an archive names the size of a dictionary.
    """

    name: str
    readers: tuple[str, ...]
    is_stored: bool = False
    names_dictionary: bool = False


_TAR: Final = _Kind("tar", ("tar",), is_stored=True)
_AR: Final = _Kind("ar", ("ar",), is_stored=True)
_RAR: Final = _Kind("rar", ("rar", "rar5"), names_dictionary=True)
_SEVEN: Final = _Kind("7z", ("7zip",), names_dictionary=True)
_ISO: Final = _Kind("iso9660", ("iso9660",), is_stored=True)
_KINDS: Final[dict[str, _Kind]] = {
    "application/x-tar": _TAR,
    "application/x-iso9660-image": _ISO,
    "application/x-7z-compressed": _SEVEN,
    "application/vnd.rar": _RAR,
    "application/vnd.ms-cab-compressed": _Kind("cab", ("cab",)),
    "application/x-lzh-compressed": _Kind("lzh", ("lha",)),
    "application/x-cpio": _Kind("cpio", ("cpio",), is_stored=True),
    "application/x-archive": _AR,
    "application/vnd.debian.binary-package": _Kind("deb", ("ar",), is_stored=True),
}
_ISO_MARK_AT: Final = 0x8001
_LINK_BYTES: Final = 4096
"""A link in a RAR archive with its header: no system follows a longer path."""


MEDIA_TYPES: Final = frozenset(_KINDS)


def _marked(data: Buffer) -> _Kind | None:
    """By a mark: an ar archive of texts looks like a text; tar and ISO 9660 bear theirs late, behind anything."""
    if data[:8] == b"!<arch>\n":
        return _AR
    if data[257:262] == b"ustar":
        return _TAR
    return _ISO if data[_ISO_MARK_AT : _ISO_MARK_AT + 5] == b"CD001" else None


def bears_mark(data: Buffer) -> bool:
    return _marked(data) is not None


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the members up to damage that nothing can be read behind."""
    kind = _KINDS.get(sample.identity.media_type) or _marked(sample.data)
    assert kind is not None
    plain = seven_passwords.decrypted(sample.data, limits, budget) if kind is _SEVEN else None
    held_bytes = 0 if plain is None else len(plain.data)
    budget.held_bytes_left -= held_bytes
    try:
        yield from _unpack(sample, kind, plain, limits, budget)
    finally:
        budget.held_bytes_left += held_bytes


def _unpack(
    sample: Sample, kind: _Kind, plain: Decrypted | None, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """Args: `plain` is the archive without its encryption, where it had one that could be undone."""
    data = sample.data if plain is None else plain.data
    try:
        with Reader(data, kind.readers, is_measured=kind.names_dictionary) as reader:
            yield from _members(sample, kind, reader, plain, limits, budget)
            if reader.skipped:
                yield findings.corrupt(kind.name, sample.trail)
            if kind.name == "rar" and rar_volumes.is_volume(sample.head(rar_volumes.HEAD_BYTES)):
                yield findings.unsupported("rar-volume", sample.trail)
    except Broken as error:
        if kind is _SEVEN and type(error) is Broken and seven_passwords.is_encrypted(data, budget):
            error = Encrypted(str(error))  # libarchive has no word for it where a folder has many coders
        yield findings.of_fault(error, kind.name, sample.trail)


def _members(
    sample: Sample,
    kind: _Kind,
    reader: Reader,
    plain: Decrypted | None,
    limits: ArchiveOptions,
    budget: Budget,
) -> Iterator[Sample | Finding]:
    filled = 0
    for number, entry in enumerate(reader.entries(), 1):
        budget.check_time()
        budget.take_member()
        raw_name = entry.raw_name
        name = member_name(raw_name, "utf-8") or f"member-{number}"
        trail = (*sample.trail, name)
        if len(raw_name) > limits.max_name_bytes:
            yield findings.limit(NAME_BYTES, trail)
        if entry.is_encrypted:
            yield findings.encrypted(kind.name, trail)
            continue
        if kind is _RAR and entry.is_folder_or_link:
            # Has no data, and asking for it ends the list.
            if entry.size_bytes > 0 or entry.passed_bytes > _LINK_BYTES:
                yield findings.unsupported("rar-folder-or-link-data", trail)
            continue
        work_bytes = 0 if kind.is_stored else LZMA_DICTIONARY_BYTES
        content = collect(entry, sample.size_bytes, limits, budget, work_bytes)
        if plain is not None and entry.size_bytes:
            if not plain.is_proven(filled, entry.size_bytes, content):
                yield findings.encrypted(kind.name, trail)  # under another password, as far as can be told
            filled += 1
        if content.data:
            budget.held_bytes_left -= reader.work_bytes
            yield sample.member(content.data, name)
            budget.held_bytes_left += reader.work_bytes
        yield from content.shortfall(kind.name, trail)
        if content.limit and not kind.is_stored:
            return  # going on would unpack the rest of this member to throw it away
        del content
