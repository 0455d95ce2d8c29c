"""Names with the lists they are on, in blocks of bytes that all fronts map.

A record is a newline, the name, a tab, and the number of a list in two bytes that have their high bits set, so that
neither can be part of a name or begin another record. Records stand in the order of their names' CRC-32, and an index
says where those begin that share its first bits. Names are kept whole: no two are ever taken for each other.

Before both stands a filter of bits, one for each CRC-32 that is there: it says of nearly every name that is on no
list that it is on none, and fits into a processor's cache, where records do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from icapd.scan.model import Buffer

EMPTY_INDEX = bytes(12)
EMPTY_FILTER = bytes(1)


class Table:
    """Says which lists a name is on. Reads shared memory; keeps nothing."""

    def __init__(self, records: Buffer, index: Buffer, bits: Buffer) -> None:
        self._records = records
        self._index = memoryview(index).cast("I")
        self._shift = 33 - len(self._index).bit_length()
        self._filter = memoryview(bits)
        self._filter_shift = 33 - len(self._filter).bit_length()

    def find(self, name: bytes) -> tuple[int, ...]:
        """The numbers of the lists, in no order; empty for nearly all names."""
        return self.find_all((name,))

    def find_all(self, names: Iterable[bytes]) -> tuple[int, ...]:
        """The numbers of the lists that any of these names is on."""
        bits, shift = self._filter, self._filter_shift
        found: tuple[int, ...] = ()
        for name in names:
            hashed = crc32(name)
            if bits[hashed >> shift] >> (hashed & 7) & 1:
                found += self._read(name, hashed >> self._shift)
        return found

    def _read(self, name: bytes, bucket: int) -> tuple[int, ...]:
        records, start, end = self._records, self._index[bucket], self._index[bucket + 1]
        needle = b"\n" + name + b"\t"
        at = records.find(needle, start, end)
        found = []
        while at >= 0:
            value = at + len(needle)
            found.append((records[value] & 0x7F) << 7 | records[value + 1] & 0x7F)
            at = records.find(needle, value, end)
        return tuple(found)
