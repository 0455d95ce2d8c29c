"""Names with wildcards: * is any text, ? is any one character, all else stands for itself, in any case.

Matched in one pass, never by backtracking: the texts come from peers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Glob:
    """One pattern with wildcards. Texts are compared as they are: the caller lowers both."""

    __slots__ = ("_ends", "_middle", "_whole", "needle")

    def __init__(self, pattern: str) -> None:
        parts = pattern.split("*")
        segments = [(_segment(part), len(part)) for part in parts]
        self._whole = segments[0][0] if len(parts) == 1 else None
        self._ends = (*segments[0], *segments[-1])
        self._middle = tuple(segment for segment, length in segments[1:-1] if length)
        self.needle = max((run for part in parts for run in part.split("?")), key=len)
        """The longest text that everything this matches has in it."""

    def matches(self, text: str) -> bool:
        """Takes each part at its first place: where any fit exists, so does this one."""
        if self._whole is not None:
            return self._whole.fullmatch(text) is not None
        first, first_length, last, last_length = self._ends
        if first.match(text) is None:
            return False
        place = first_length
        for segment in self._middle:
            found = segment.search(text, place)
            if found is None:
                return False
            place = found.end()
        end = len(text) - last_length
        return end >= place and last.match(text, end) is not None


def _segment(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "?" else re.escape(char) for char in part), re.DOTALL)


def is_wild(name: str) -> bool:
    """Whether a name has wildcards."""
    return "*" in name or "?" in name


class Names:
    """A set of names, any case; * and ? are wildcards."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, names: Iterable[str]) -> None:
        lowered = [name.lower() for name in names]
        self._exact = frozenset(name for name in lowered if not is_wild(name))
        self._patterns = tuple(Glob(name) for name in lowered if is_wild(name))

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return name in self._exact or any(pattern.matches(name) for pattern in self._patterns)
