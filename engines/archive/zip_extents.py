"""Which bytes of a ZIP its listed members take, so that shared bytes are noticed and unlisted ones searched."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Extents:
    """The extents taken so far, merged.

    State: only grows, but for the bytes that may still be read more than once; all members together get as many of
    those as the file is long. Without that ceiling ten thousand members over the same bytes are a bomb.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._known: set[tuple[int, int, int]] = set()
        self._shared_bytes_left = size_bytes

    def is_repeat(self, start: int, end: int, method: int) -> bool:
        """Whether just this extent was asked about before, to be read in the same way."""
        extent = (start, end, method)
        if extent in self._known:
            return True
        self._known.add(extent)
        return False

    def take(self, start: int, end: int) -> bool:
        """Takes an extent; returns whether nothing of it was taken before."""
        first = bisect_right(self._ends, start)
        past = bisect_left(self._starts, end)
        is_free = first >= past
        if not is_free:
            start = min(start, self._starts[first])
            end = max(end, self._ends[past - 1])
        self._starts[first:past] = [start]
        self._ends[first:past] = [end]
        return is_free

    def may_share(self, count: int) -> bool:
        """Whether so many bytes may be read once more."""
        if count > self._shared_bytes_left:
            return False
        self._shared_bytes_left -= count
        return True

    def gaps(self) -> Iterator[tuple[int, int]]:
        """What is not taken, from the front."""
        reached = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            if reached < start:
                yield reached, start
            reached = end
        if reached < self._size_bytes:
            yield reached, self._size_bytes
