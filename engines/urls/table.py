"""Names with the lists they are on, in blocks of bytes that all fronts map.

A record is a newline, the name, a tab, and a value of two bytes that have their high bits set, so that neither can be
part of a name or begin another record. The value is the number of a list, and whether that list means all names below
this one, too. Records stand in the order of their names' CRC-32, and an index says where those begin that share its
first bits. Names are kept whole: no two are ever taken for each other.

Before both stands a filter of bits, one for each CRC-32 that is there: it says of nearly every name that is on no
list that it is on none, and fits into a processor's cache, where records do not.

What is found are values, one behind the other, as they stand: few combinations of them come, again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import crc32

from icapd.scan.model import Buffer

EMPTY_INDEX = bytes(12)
EMPTY_FILTER = bytes(1)
NAME_BYTES_MAX = 253
"""No host's name has more: what is longer than that is nobody's parent."""


class Table:
    """Says which lists a name is on. Reads shared memory; keeps nothing."""

    def __init__(self, records: Buffer, index: Buffer, bits: Buffer) -> None:
        self._records = records
        self._index = memoryview(index).cast("I")
        self._shift = 33 - len(self._index).bit_length()
        self._filter = memoryview(bits)
        self._filter_shift = 33 - len(self._filter).bit_length()

    def find(self, name: bytes) -> bytes:
        """Values of this name, in no order; empty for nearly all names."""
        hashed = crc32(name)
        if self._filter[hashed >> self._filter_shift] >> (hashed & 7) & 1:
            return self._read(name, hashed >> self._shift)
        return b""

    def find_all(self, names: Iterable[bytes]) -> bytes:
        """Values of any of these names."""
        bits, shift = self._filter, self._filter_shift
        found = b""
        for name in names:
            hashed = crc32(name)
            if bits[hashed >> shift] >> (hashed & 7) & 1:
                found += self._read(name, hashed >> self._shift)
        return found

    def find_parents(self, name: bytes) -> bytes:
        """Values of all that this name is below."""
        bits, shift = self._filter, self._filter_shift
        found = b""
        at = -NAME_BYTES_MAX - 1
        while at := name.find(b".", at) + 1:
            parent = name[at:]
            hashed = crc32(parent)
            if bits[hashed >> shift] >> (hashed & 7) & 1:
                found += self._read(parent, hashed >> self._shift)
        return found

    def _read(self, name: bytes, bucket: int) -> bytes:
        index = self._index
        found = self._records[index[bucket] : index[bucket + 1]].split(b"\n" + name + b"\t")
        if len(found) == 2:  # as nearly always
            return found[1][:2]
        return b"".join([record[:2] for record in found[1:]])


def encode_value(number: int, *, is_for_all_below: bool) -> bytes:
    value = number << 1 | is_for_all_below
    return bytes((0x80 | value >> 7, 0x80 | value & 0x7F))


def decode_values(values: bytes) -> Iterator[tuple[int, bool]]:
    """The numbers of lists, each with whether it means all names below, too."""
    for high, low in zip(values[0::2], values[1::2], strict=True):
        value = (high & 0x7F) << 7 | low & 0x7F
        yield value >> 1, bool(value & 1)
