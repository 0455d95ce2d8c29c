"""Names with the lists they are on, in one block of bytes that all fronts map.

A record is a newline, the name, a tab, and the number of a list in two bytes that have their high bits set, so that
neither can be part of a name or begin another record. Records stand in the order of their names' CRC-32, and an index
says where those begin that share its first bits. Names are kept whole: no two are ever taken for each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from zlib import crc32

from icapd.scan.model import Buffer

LISTS_MAX = 1 << 14
RECORDS_BYTES_MAX = (1 << 32) - 1
EMPTY_INDEX = bytes(12)
_CHUNK = 1 << 16
_BUCKET_NAMES = 4


class TableBuilder:
    """Collects names; `build` is called once, at the end.

    State: hashes, sizes and bytes of all records in the order they came.
    """

    def __init__(self) -> None:
        self._hashes = array("I")
        self._sizes = array("H")
        self._records = bytearray()

    @property
    def size_bytes(self) -> int:
        """Of all records, at most."""
        return len(self._records)

    def add(self, names: Sequence[bytes], number: int, prefix: bytes = b"") -> None:
        """Takes names, each with `prefix` before it, on the list of this number. No newline, no tab, below 64 KB."""
        if names:
            start, end = b"\n" + prefix, _tail(number)
            self._hashes.extend(map(crc32, names, repeat(crc32(prefix))))
            self._sizes.extend(map(len(start + end).__add__, map(len, names)))
            self._records += start + (end + start).join(names) + end

    def build(self) -> tuple[bytes, bytes]:
        """Returns: the records, each once, and the index."""
        import numpy as np  # here: fronts look names up, and build no table

        count = len(self._hashes)
        bits = max((count // _BUCKET_NAMES).bit_length(), 1)
        hashes = np.array(self._hashes, dtype=np.uint32)
        order = np.argsort(hashes, kind="stable")
        ends = np.cumsum(np.array(self._sizes, dtype=np.int64))
        starts = np.concatenate(([0], ends))
        bucket_bytes = np.zeros(1 << bits, dtype=np.int64)
        unsorted, records = bytes(self._records), bytearray()
        self._records.clear()
        for at in range(0, count, _CHUNK):
            picked = order[at : at + _CHUNK]
            places = zip(starts[picked].tolist(), ends[picked].tolist(), strict=True)
            buckets = (hashes[picked] >> (32 - bits)).tolist()
            unique = dict(zip([unsorted[start:end] for start, end in places], buckets, strict=True))
            records += b"".join(unique)
            np.add.at(bucket_bytes, list(unique.values()), list(map(len, unique)))
        index = np.concatenate(([0], np.cumsum(bucket_bytes))).astype(np.uint32)
        return bytes(records), index.tobytes()


def _tail(number: int) -> bytes:
    return bytes((0x09, 0x80 | number >> 7, 0x80 | number & 0x7F))


class Table:
    """Says which lists a name is on. Reads shared memory; keeps nothing."""

    def __init__(self, records: Buffer, index: Buffer) -> None:
        self._records = records
        self._index = memoryview(index).cast("I")
        self._shift = 33 - len(self._index).bit_length()

    def find(self, name: bytes) -> tuple[int, ...]:
        """The numbers of the lists, in no order; empty for nearly all names."""
        bucket = crc32(name) >> self._shift
        records, start, end = self._records, self._index[bucket], self._index[bucket + 1]
        needle = b"\n" + name + b"\t"
        at = records.find(needle, start, end)
        if at < 0:
            return ()
        found = []
        while at >= 0:
            value = at + len(needle)
            found.append((records[value] & 0x7F) << 7 | records[value + 1] & 0x7F)
            at = records.find(needle, value, end)
        return tuple(found)
