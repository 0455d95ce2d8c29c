"""Collects what a stream gives, under the budget of the body and the limits of one member."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from engines.archive.streams import DICTIONARY_BYTES, OUT_BLOCK, WINDOW_BYTES, Broken, Source, Stream
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import HELD_BYTES, Budget, Finding

MEMBER_BYTES: Final = "archive.max_member_bytes"
NAME_BYTES: Final = "archive.max_name_bytes"
RATIO: Final = "archive.max_ratio"
_OF_ONE_MEMBER: Final = frozenset({MEMBER_BYTES, HELD_BYTES, RATIO, DICTIONARY_BYTES, WINDOW_BYTES})
_GROWING_BYTES: Final = 1024 * 1024
_RESERVED_BYTES: Final = 40 * 1024 * 1024
"""Past the size from which the allocator maps a block by itself, so that it grows where it is: not copied, and given
back when it goes. What is not written to takes no memory."""


class Unpacked(Struct, frozen=True):
    """One member's bytes, and why they end early, if they do."""

    data: bytes
    limit: str = ""
    broken: Broken | None = None

    @property
    def is_whole(self) -> bool:
        return not self.limit and self.broken is None

    def shortfall(self, what: str, trail: findings.Trail) -> Iterator[Finding]:
        """The findings for what is missing.

        Raises: LimitReached when the budget of the whole body is used up; the limits of one member only end it.
        """
        if self.broken is not None:
            yield findings.of_fault(self.broken, what, trail)
        yield from self.limits(trail)

    def limits(self, trail: findings.Trail) -> Iterator[Finding]:
        """The finding for the limit that was reached, if one was.

        Raises: LimitReached, as above.
        """
        if self.limit:
            yield findings.limit(self.limit, trail)
            if self.limit not in _OF_ONE_MEMBER:
                raise LimitReached(self.limit)


def collect(
    stream: Source, packed_bytes: int, limits: ArchiveOptions, budget: Budget, work_bytes: int = 0
) -> Unpacked:
    """Reads a stream to its end, its damage or a limit; what came before is kept.

    Callers keep no stream while they yield what it gave: a dictionary takes as much memory as a member.

    Args: `work_bytes` is what the decoder may take besides.
    Raises: DeadlineReached.
    """
    room_bytes = max(0, budget.held_bytes_left - work_bytes)
    most_bytes = min(limits.max_member_bytes, room_bytes)
    kept = _Kept()
    limit = ""
    broken: Broken | None = None
    try:
        while block := stream.read(OUT_BLOCK):
            budget.check_time()
            budget.take_block(len(block))
            kept.write(block)
            if kept.size_bytes > most_bytes:
                limit = MEMBER_BYTES if limits.max_member_bytes <= room_bytes else HELD_BYTES
                break
            budget.check_ratio(packed_bytes, kept.size_bytes)
    except LimitReached as reached:
        limit = reached.limit
    except Broken as error:
        broken = error
    return Unpacked(kept.content(most_bytes), limit, broken)


def collect_up_to_rest(
    stream: Stream, packed_bytes: int, limits: ArchiveOptions, budget: Budget, work_bytes: int = 0
) -> tuple[Unpacked, Source]:
    """The same, and what its source holds behind the stream's end."""
    unpacked = collect(stream, packed_bytes, limits, budget, work_bytes)
    return unpacked, stream.rest()


class _Kept:
    """What was read so far. State: one block as it came, which is all there is of most members; then a buffer that
    grows in place and gives itself away, so that a member is in memory once.
    """

    __slots__ = ("_block", "_buffer", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self._block = b""
        self._buffer: io.BytesIO | None = None

    def write(self, block: bytes) -> None:
        if not self.size_bytes:
            self._block = block
        else:
            if self._buffer is None:
                self._buffer = io.BytesIO()
                self._buffer.write(self._block)
                self._block = b""
            elif self.size_bytes <= _GROWING_BYTES < self.size_bytes + len(block):
                small = self._buffer.getbuffer()
                self._buffer = io.BytesIO(bytes(_RESERVED_BYTES))
                self._buffer.write(small)
            self._buffer.write(block)
        self.size_bytes += len(block)

    def content(self, max_bytes: int) -> bytes:
        """Up to so many bytes of it."""
        if self._buffer is None:
            return self._block[:max_bytes]
        self._buffer.truncate(min(self.size_bytes, max_bytes))
        return self._buffer.getvalue()
