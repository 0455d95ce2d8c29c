"""Makes the blocks of a table (see `table`). Needs numpy, which fronts do without: they only read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engines.urls.table import encode_value

LISTS_MAX = 1 << 13
RECORDS_BYTES_MAX = (1 << 32) - 1
_CHUNK = 1 << 12
_BUCKET_NAMES = 4
_FILTER_BYTES_A_NAME = 2
"""Sixteen bits, of which one is set: of names on no list, one in sixteen passes."""


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

    def add(self, names: Sequence[bytes], number: int, *, is_for_all_below: bool = False) -> None:
        """Takes names on the list of this number. No newline, no tab, below 64 KB."""
        if names:
            end = b"\t" + encode_value(number, is_for_all_below=is_for_all_below)
            self._hashes.extend(map(crc32, names))
            self._sizes.extend(map((len(end) + 1).__add__, map(len, names)))
            self._records += b"\n" + (end + b"\n").join(names) + end

    def build(self) -> dict[str, bytes]:
        """The blocks by their names. State: nothing is left of what was collected."""
        hashes, sizes, starts = self._in_order()
        bits = max((len(hashes) // _BUCKET_NAMES).bit_length(), 1)
        bucket_bytes = np.bincount(hashes >> (32 - bits), weights=sizes, minlength=1 << bits)
        index = np.concatenate(([0], np.cumsum(bucket_bytes))).astype(np.uint32).tobytes()
        records = list(self._gathered(starts, sizes))
        del starts, sizes, bucket_bytes
        self._records = bytearray()
        return {"records": b"".join(records), "index": index, "filter": _filter_of(hashes)}

    def _in_order(self) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint32]]:
        """Hashes, sizes and places of the records in the order of their hashes, most of what comes twice left out."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint32)
        sizes = np.frombuffer(self._sizes, dtype=np.uint16)
        order = np.argsort(hashes, kind="stable").astype(np.uint32)
        starts = np.cumsum(sizes, dtype=np.uint32)
        starts -= sizes
        hashes, sizes, starts = hashes[order], sizes[order], starts[order]
        is_new = np.ones(len(hashes), dtype=bool)
        for at in self._like_the_one_before(hashes, sizes, starts):
            is_new[at] = self._record(starts[at - 1], sizes[at - 1]) != self._record(starts[at], sizes[at])
        return hashes[is_new], sizes[is_new], starts[is_new]

    def _like_the_one_before(
        self, hashes: NDArray[np.uint32], sizes: NDArray[np.uint16], starts: NDArray[np.uint32]
    ) -> list[int]:
        """Places of records with the hash, the size and the list of the one before: nearly all are it once more."""
        source = np.frombuffer(self._records, dtype=np.uint8)
        last = source[starts + sizes - 1]
        is_like = (hashes[1:] == hashes[:-1]) & (sizes[1:] == sizes[:-1]) & (last[1:] == last[:-1])
        places: list[int] = (np.flatnonzero(is_like) + 1).tolist()
        return places

    def _record(self, start: Any, size: Any) -> bytes:
        return bytes(self._records[int(start) : int(start) + int(size)])

    def _gathered(self, starts: NDArray[np.uint32], sizes: NDArray[np.uint16]) -> Iterator[bytes]:
        """The records from these places, one behind the other, some at a time."""
        source = np.frombuffer(self._records, dtype=np.uint8)
        for at in range(0, len(starts), _CHUNK):
            lengths = sizes[at : at + _CHUNK].astype(np.int64)
            ends = np.cumsum(lengths)
            shifts = starts[at : at + _CHUNK] - (ends - lengths)
            yield source[np.arange(ends[-1]) + np.repeat(shifts, lengths)].tobytes()


def _filter_of(hashes: NDArray[np.uint32]) -> bytes:
    """One bit for each hash: its first bits say in which byte, its last three which one."""
    bits = max(len(hashes) * _FILTER_BYTES_A_NAME - 1, 1).bit_length()
    found = np.zeros(1 << bits, dtype=np.uint8)
    np.bitwise_or.at(found, hashes >> (32 - bits), np.left_shift(1, hashes & 7).astype(np.uint8))
    return found.tobytes()
