"""Collects what a stream gives, under the budget of the body and the limits of one member."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from engines.archive.streams import DICTIONARY_BYTES, OUT_BLOCK, WINDOW_BYTES, Broken, Source
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Finding

MEMBER_BYTES: Final = "archive.max_member_bytes"
NAME_BYTES: Final = "archive.max_name_bytes"
RATIO: Final = "archive.max_ratio"
_OF_ONE_MEMBER: Final = frozenset({MEMBER_BYTES, RATIO, DICTIONARY_BYTES, WINDOW_BYTES})


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


def collect(stream: Source, packed_bytes: int, limits: ArchiveOptions, budget: Budget) -> Unpacked:
    """Reads a stream to its end, its damage or a limit; what came before is kept.

    Raises: DeadlineReached.
    """
    kept = _Kept()
    limit = ""
    broken: Broken | None = None
    try:
        while block := stream.read(OUT_BLOCK):
            budget.check_time()
            budget.take_bytes(len(block))
            kept.write(block)
            if kept.size_bytes > limits.max_member_bytes:
                limit = MEMBER_BYTES
                break
            budget.check_ratio(packed_bytes, kept.size_bytes)
    except LimitReached as reached:
        limit = reached.limit
    except Broken as error:
        broken = error
    return Unpacked(kept.content(limits.max_member_bytes), limit, broken)


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
            self._buffer.write(block)
        self.size_bytes += len(block)

    def content(self, max_bytes: int) -> bytes:
        """Up to so many bytes of it."""
        if self._buffer is None:
            return self._block[:max_bytes]
        self._buffer.truncate(max_bytes)
        return self._buffer.getvalue()
