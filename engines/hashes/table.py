"""Digests of one kind, sorted, in one block of bytes: 36 MB for a million SHA-256, shared by all forked scanners.

A row is the digest and a reference into the names, four bytes, big-endian; 0 is "no name".
"""

from __future__ import annotations

from array import array

import numpy as np

DIGEST_BYTES = {"sha256": 32, "sha1": 20, "md5": 16}
REFERENCE_BYTES = 4
_BUCKETS = 1 << 16


def sort_rows(rows: bytearray, digest: str) -> None:
    """Brings rows into the order a Table needs, in place."""
    np.frombuffer(rows, dtype=f"S{DIGEST_BYTES[digest] + REFERENCE_BYTES}").sort()


class Table:
    """Looks whole digests up: the first two bytes say between which rows, a search in those decides."""

    def __init__(self, rows: bytes, digest: str) -> None:
        self._rows = rows
        self._digest_bytes = DIGEST_BYTES[digest]
        self._row_bytes = self._digest_bytes + REFERENCE_BYTES
        matrix = np.frombuffer(rows, dtype=np.uint8).reshape(-1, self._row_bytes)
        buckets = matrix[:, 0].astype(np.uint16) << 8 | matrix[:, 1]
        ends = np.cumsum(np.bincount(buckets, minlength=_BUCKETS))
        # Where each bucket starts, in rows. Not numpy's array: taking one item out of that costs ten times as much.
        self._starts = array("I", np.concatenate(([0], ends)).astype(np.uintc).tobytes())

    def __len__(self) -> int:
        return len(self._rows) // self._row_bytes

    def reference(self, digest: bytes) -> int | None:
        """The reference of a digest's first row; None when the digest is not listed."""
        bucket = digest[0] << 8 | digest[1]
        end = self._starts[bucket + 1] * self._row_bytes
        at = self._rows.find(digest, self._starts[bucket] * self._row_bytes, end)
        while at >= 0 and at % self._row_bytes:  # the same bytes across two rows are no hit
            at = self._rows.find(digest, at + 1, end)
        if at < 0:
            return None
        name_at = at + self._digest_bytes
        return int.from_bytes(self._rows[name_at : name_at + REFERENCE_BYTES], "big")
