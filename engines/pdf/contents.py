"""What pages are drawn with: streams that begin as text without marks of any format are shown to engines together.

A document has dozens of them, and to have each one identified and offered to every unpacker cost as much as all the
rest. Rules look at the same bytes; what may be a file of its own stays a member of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from icapd.scan.model import Budget, Sample

JOINED_BYTES: Final = 1 << 20
"""From so many bytes on a member is closed, and the next one begun."""
_BETWEEN: Final = b"\n%\n"
"""A comment, as readers may put between streams (7.8.2); no base64 goes on behind it."""
_HEAD_BYTES: Final = 512
"""What engines identify a sample by."""
_PLAIN: Final = bytes((9, 10, 12, 13, *range(32, 127)))
_TOKENS = re.compile(rb"[\t\n\f\r ]*(?:(?:[-+.0-9]{1,20}|/[\w.+-]{1,64}|[A-Za-z]{1,16}[*'\"]?)[\t\n\f\r ]+){6}")
"""Numbers, names and operators (7.8.2), or words; no format that an engine opens begins with six of them."""
_TAR_AT: Final = 257
_ISO_9660_AT: Final = 0x8001
_ZIP_END: Final = b"PK\x05\x06"
"""A ZIP may stand behind anything."""
_PDF_WITHIN_BYTES: Final = 1024 + len(b"%PDF")


def is_contents(data: bytes) -> bool:
    """Whether a stream reads as page contents do."""
    return (
        _TOKENS.match(data) is not None
        and not data[:_HEAD_BYTES].translate(None, _PLAIN)
        and b"%PDF" not in data[:_PDF_WITHIN_BYTES]
        and not data.startswith(b"ustar", _TAR_AT)
        and not data.startswith(b"CD001", _ISO_9660_AT)
    )


class Contents:
    """Collects streams by name, and takes them from what the budget lets be held.

    State: those that are not yet part of a member.
    """

    def __init__(self, sample: Sample, budget: Budget) -> None:
        self._sample = sample
        self._budget = budget
        self._waiting: list[tuple[str, bytes]] = []
        self._waiting_bytes = 0
        self._count = 0

    def add(self, name: str, data: bytes) -> Iterable[Sample]:
        """Takes a stream; gives the members that are full by that. Raises: LimitReached, while they are taken."""
        self._budget.held_bytes_left -= len(data)
        if self._waiting_bytes + len(data) >= JOINED_BYTES:
            return self._filled(name, data)
        self._waiting.append((name, data))
        self._waiting_bytes += len(data)
        return ()

    def _filled(self, name: str, data: bytes) -> Iterator[Sample]:
        if len(data) >= JOINED_BYTES:
            yield from self.rest()  # a large one is not copied
        self._waiting.append((name, data))
        self._waiting_bytes += len(data)
        yield from self.rest()

    def rest(self) -> Iterator[Sample]:
        """What waits: in one member, or each alone if a ZIP ends among them. Raises: LimitReached."""
        self._budget.held_bytes_left += self._waiting_bytes
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        joined = _BETWEEN.join(data for _, data in waiting)
        if len(waiting) > 1 and _ZIP_END not in joined:
            self._count += 1
            waiting = [(f"contents {self._count}", joined)]
        for name, data in waiting:
            self._budget.take_member()
            yield self._sample.member(data, name)
