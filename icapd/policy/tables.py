"""Tables from what a request says to the rules that may hold then. Rules are bits of an integer."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from icapd.policy.conditions import client_address, network_bits
from icapd.policy.names import Glob, is_wild

_NEEDLE_CHARACTERS: Final = 64
"""Of a name with wildcards that are looked for: an expression may not be nested as deep as a name may be long."""
KEPT: Final = 1024
KEPT_CHARACTERS: Final = 1024


class NameTable:
    """Rules by names with wildcards. `otherwise`: the rules that do not ask.

    A name with wildcards is looked for by the longest plain text in it, all of them at once by one expression.
    """

    __slots__ = ("_by_needle", "_by_suffix", "_exact", "_labels_max", "_search", "otherwise")

    def __init__(self, rules: Sequence[Sequence[str]], *, has_suffixes: bool = False) -> None:
        self.otherwise = 0
        self._exact: dict[str, int] = {}
        self._by_suffix: dict[str, int] = {}
        by_needle: dict[str, int] = {}
        for place, names in enumerate(rules):
            bit = 1 << place
            for name in map(str.lower, names):
                name = name.rstrip(".") if has_suffixes else name
                if has_suffixes and _is_suffix(name):
                    suffix = name.lstrip("*.")
                    self._by_suffix[suffix] = self._by_suffix.get(suffix, 0) | bit
                elif not is_wild(name):
                    self._exact[name] = self._exact.get(name, 0) | bit
                elif needle := Glob(name).needle[:_NEEDLE_CHARACTERS]:
                    by_needle[needle] = by_needle.get(needle, 0) | bit
                else:
                    self.otherwise |= bit
            if not names:
                self.otherwise |= bit
        self._labels_max = max((suffix.count(".") + 1 for suffix in self._by_suffix), default=0)
        # A search finds the longest needle at a place; the shorter ones that begin it are there as well.
        self._by_needle = {
            needle: sum_bits(by_needle.get(needle[:end], 0) for end in range(1, len(needle) + 1))
            for needle in by_needle
        }
        self._search = re.compile(_any_of(by_needle), re.DOTALL).search if by_needle else None

    def find(self, texts: Sequence[str]) -> int:
        """The rules that may hold for any of these texts, which are in lower case."""
        found, exact = self.otherwise, self._exact
        if exact:
            for text in texts:
                found |= exact.get(text, 0)
        if self._labels_max:
            for text in texts:
                end = len(text)
                for _ in range(self._labels_max):
                    end = text.rfind(".", 0, end)
                    found |= self._by_suffix.get(text[end + 1 :], 0)
                    if end < 0:
                        break
        search = self._search
        if search is not None:
            # What is found across two texts is a rule too many, which is asked in full.
            text = texts[0] if len(texts) == 1 else "\n".join(texts)
            match = search(text)
            while match is not None:
                found |= self._by_needle[match[0]]
                match = search(text, match.start() + 1)
        return found


class NumberTable:
    """Rules by spans of whole numbers."""

    __slots__ = ("_bounds", "_masks", "otherwise")

    def __init__(self, rules: Sequence[Sequence[tuple[float, float]]]) -> None:
        self.otherwise = sum_bits(1 << place for place, spans in enumerate(rules) if not spans)
        self._bounds = sorted({bound for spans in rules for span in spans for bound in span})
        self._masks = [self.otherwise]
        for bound in self._bounds:
            inside = (
                1 << place for place, spans in enumerate(rules) if any(start <= bound < end for start, end in spans)
            )
            self._masks.append(self.otherwise | sum_bits(inside))

    def find(self, number: float) -> int:
        """The rules whose spans hold this number."""
        return self._masks[bisect_right(self._bounds, number)]


class ClientTable:
    """Rules by the networks of clients. A client that is named by no address meets all that ask for one."""

    __slots__ = ("_asked", "_lengths", "otherwise")

    def __init__(self, rules: Sequence[Sequence[str]]) -> None:
        self.otherwise = sum_bits(1 << place for place, networks in enumerate(rules) if not networks)
        self._asked = sum_bits(1 << place for place, networks in enumerate(rules) if networks)
        tables: dict[tuple[int, int], dict[int, int]] = {}
        for place, networks in enumerate(rules):
            for version, shift, bits in map(network_bits, networks):
                table = tables.setdefault((version, shift), {})
                table[bits] = table.get(bits, 0) | (1 << place)
        self._lengths = {
            version: [(shift, table) for (its_version, shift), table in tables.items() if its_version == version]
            for version in (4, 6)
        }

    def find(self, client: str) -> int:
        """The rules that may hold for this client."""
        address = client_address(client)
        if address is None:
            return self.otherwise | self._asked
        version, number = address
        found = self.otherwise
        for shift, table in self._lengths[version]:
            found |= table.get(number >> shift, 0)
        return found


class Known(dict[Any, int]):
    """What a table answers, by what it is asked: most facts come again and again. None has the answer `otherwise`.

    Emptied when full, and where it has a `length`, nothing long is kept: peers choose what is asked, and must not
    fill memory.
    """

    __slots__ = ("_find", "_length", "_otherwise")

    def __init__(
        self, find: Callable[[Any], int], otherwise: int, length: Callable[[Any], int] | None = None
    ) -> None:
        super().__init__({None: otherwise})
        self._find = find
        self._length = length
        self._otherwise = otherwise

    def __missing__(self, fact: Any) -> int:
        found = self._find(fact)
        if self._length is None or self._length(fact) <= KEPT_CHARACTERS:
            if len(self) >= KEPT:
                self.clear()
                self[None] = self._otherwise
            self[fact] = found
        return found


def _is_suffix(name: str) -> bool:
    """`.example.org`, and `*.example.org`, which does not mean example.org itself: a rule too many for that one."""
    end = name.removeprefix("*")
    return end.startswith(".") and not is_wild(end)


def sum_bits(masks: Iterable[int]) -> int:
    """All bits of several masks."""
    found = 0
    for mask in masks:
        found |= mask
    return found


class _Branch(dict[str, "_Branch"]):
    """What may follow a letter; the empty text where a needle ends."""


def _any_of(needles: Iterable[str]) -> str:
    """An expression for any of these texts, the longest that fits: a tree of what they begin with in common.

    Tried letter by letter, where a plain list of alternatives would be tried one by one at each place.
    """
    tree = _Branch()
    for needle in needles:
        node = tree
        for char in needle:
            node = node.setdefault(char, _Branch())
        node[""] = _Branch()
    return _expression(tree)


def _expression(node: _Branch) -> str:
    branches = [re.escape(char) + _expression(below) for char, below in sorted(node.items()) if char]
    if not branches:
        return ""
    either = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{either})?" if "" in node else either
