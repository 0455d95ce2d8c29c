"""Compound files ([MS-CFB]): olefile's reader, held to bounds that hostile files cannot pass.

olefile believes counts and sizes of the header and walks the directory by recursion; here nothing is larger than the
file, the directory is read slot by slot, and streams that no storage names are found as well.
"""

from __future__ import annotations

import array
import io
import struct
from dataclasses import dataclass
from typing import Any, Final

import olefile

from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENTRIES_MAX: Final = 8192
ENTRIES_LIMIT: Final = "office.max_ole_entries"
OVERLAP_LIMIT: Final = "office.max_ole_bytes"
ORPHANS: Final = "(unlinked)"
_HEADER_BYTES: Final = 512
_SHIFTS: Final = (9, 12)
_MINI_SHIFT: Final = 6
_NOTHING: Final = 0xFFFFFFFA
"""Sector numbers from here on are marks, not places ([MS-CFB] 2.1)."""
_NO_ENTRY: Final = 0xFFFFFFFF
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


class Damaged(Exception):
    """No compound file that could be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream or storage. `path` is as the directory has it, for comparing; `name` is for people."""

    path: str
    index: int
    is_stream: bool
    size_bytes: int
    class_id: str

    @property
    def name(self) -> str:
        return self.path.translate(_CONTROL)[:255]


class _Bounded(olefile.OleFileIO):  # type: ignore[misc]  # olefile has no types, so its class is Any
    """olefile without what costs more than the file is long.

    State: as olefile's; `entries` are all used directory slots.
    """

    def __init__(self, file: Any, budget: Budget) -> None:
        self._budget = budget
        super().__init__(file)

    def _check_duplicate_stream(self, first_sect: int, minifat: bool = False) -> None:
        """olefile compares every stream with every other; shared sectors are bounded by `Compound.read` instead."""

    def loadfat(self, header: bytes) -> None:
        """The sector chains ([MS-CFB] 2.5): each sector is read once, and no more than the file needs."""
        per_sector = self.sectorsize // 4
        wanted = -(-self.nb_sect // per_sector)
        numbers = [number for number in struct.unpack("<109I", header[76:512]) if number < _NOTHING]
        numbers += self._listed_elsewhere(wanted - len(numbers), per_sector)
        table = bytearray()
        for number in list(dict.fromkeys(numbers))[:wanted]:
            self.fp.seek(self.sectorsize * (number + 1))
            table += self.fp.read(self.sectorsize).ljust(self.sectorsize, b"\xff")
        self.fat = array.array("I", bytes(table))[: self.nb_sect]
        self.num_mini_fat_sectors: int = min(self.num_mini_fat_sectors, self.nb_sect)

    def _listed_elsewhere(self, wanted: int, per_sector: int) -> list[int]:
        """The places that did not fit into the header ([MS-CFB] 2.5.1)."""
        numbers: list[int] = []
        at, seen = self.first_difat_sector, set[int]()
        while len(numbers) < wanted and at < _NOTHING and at not in seen:
            seen.add(at)
            self.fp.seek(self.sectorsize * (at + 1))
            sector = self.fp.read(self.sectorsize)
            if len(sector) < self.sectorsize:
                break
            *places, at = struct.unpack(f"<{per_sector}I", sector)
            numbers += [place for place in places if place < _NOTHING]
        return numbers

    def loaddirectory(self, sect: int) -> None:
        """Every slot in file order; who belongs to whom is `Compound`'s to find out."""
        self.directory_fp = self._open(sect, force_FAT=True)
        count = self.directory_fp.size // 128
        self.has_more = count > ENTRIES_MAX
        self.direntries = [None] * min(count, ENTRIES_MAX)
        for index in range(len(self.direntries)):
            if index % 256 == 0:
                self._budget.check_time()
            entry = self._load_direntry(index)
            entry.size = min(entry.size, self._filesize)
        if not self.direntries:
            raise Damaged("no directory")
        self.root = self.direntries[0]


class Compound:
    """One compound file. State: `left_bytes` shrinks by what is read."""

    def __init__(self, data: Buffer, budget: Budget) -> None:
        """Raises: Damaged; DeadlineReached."""
        head = data[:_HEADER_BYTES]
        if len(head) < _HEADER_BYTES or head[:8] != MAGIC:
            raise Damaged("no header")
        shift, mini_shift = struct.unpack_from("<HH", head, 30)
        if shift not in _SHIFTS or mini_shift != _MINI_SHIFT:
            raise Damaged("sizes of sectors that no program writes")
        self.left_bytes = 2 * len(data)
        try:
            self._ole = _Bounded(io.BytesIO(data) if isinstance(data, bytes) else data, budget)
        except (OSError, ValueError, IndexError, struct.error, OverflowError, AttributeError) as error:
            raise Damaged(str(error)) from error
        self.has_more: bool = self._ole.has_more
        root: Any = self._ole.root
        self.class_id: str = root.clsid.lower()
        self.entries = self._linked()

    def _linked(self) -> list[Entry]:
        """All entries with their paths, walking the tree without recursion; then those no storage names."""
        slots: list[Any] = self._ole.direntries
        entries: list[Entry] = []
        seen = {0}
        stack = [(slots[0].sid_child, "")]
        while stack:
            index, prefix = stack.pop()
            if index >= len(slots) or index in seen:
                continue
            seen.add(index)
            slot = slots[index]
            entries.append(_entry(slot, prefix))
            stack += [(slot.sid_right, prefix), (slot.sid_left, prefix)]
            if slot.sid_child != _NO_ENTRY:
                stack.append((slot.sid_child, entries[-1].path + "/"))
        loose = (slot for slot in slots if slot.sid not in seen and slot.entry_type == olefile.STGTY_STREAM)
        entries.extend(_entry(slot, f"{ORPHANS}/") for slot in loose)
        return entries

    def read(self, entry: Entry, budget: Budget) -> bytes:
        """The bytes of a stream, as far as they are there; they are charged to the budget.

        Raises: LimitReached: streams of one file share no sectors, so that together they are no longer than it.
        """
        budget.check_time()
        if entry.size_bytes > self.left_bytes:
            raise LimitReached(OVERLAP_LIMIT)
        self.left_bytes -= entry.size_bytes
        budget.take_bytes(entry.size_bytes)
        slots: list[Any] = self._ole.direntries
        slot = slots[entry.index]
        try:
            content: bytes = self._ole._open(slot.isectStart, entry.size_bytes).read()
        except (OSError, ValueError, IndexError, struct.error, OverflowError):
            return b""
        return content


def _entry(slot: Any, prefix: str) -> Entry:
    is_stream = slot.entry_type == olefile.STGTY_STREAM
    return Entry(
        f"{prefix}{slot.name}"[:1024], slot.sid, is_stream, slot.size if is_stream else 0, slot.clsid.lower()
    )
