"""Reads Accept and Accept-Language: which form and which language of a page a client would like best.

Peers choose these bytes: what is broken is passed over, and only a bounded part is read.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from functools import lru_cache

HEADER_BYTES = 1024
ENTRIES_MAX = 32

_ENTRY = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z/-]{1,64})[ \t]*((?:;[^;]*)*)")
_WEIGHT = re.compile(r";[ \t]*q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?)[ \t]*$", re.IGNORECASE)


class Form(enum.Enum):
    """What a page can be. Where a client likes several alike, the first in this order is taken."""

    HTML = "text/html"
    JSON = "application/json"
    TEXT = "text/plain"


def best_form(accept: bytes) -> Form:
    """The form for an Accept header; HTML where it says nothing, or wants none of ours.

    Of two that are liked alike, one that is named comes before one that only a wildcard takes in.
    """
    return _best_form(accept[:HEADER_BYTES])


@lru_cache(maxsize=512)
def _best_form(accept: bytes) -> Form:
    liked: dict[Form, tuple[float, int, int]] = {}
    for place, form in enumerate(Form):
        ranges = {form.value: 2, form.value.partition("/")[0] + "/*": 1, "*/*": 0}
        named = [(ranges[name], weight) for name, weight in _entries(accept) if name in ranges]
        if named:
            exactness, weight = max(named)
            liked[form] = (weight, exactness, -place)
    best = max(liked, key=lambda form: liked[form], default=Form.HTML)
    return best if best in liked and liked[best][0] > 0 else Form.HTML


def best_language(accept_language: bytes, known: Collection[str], otherwise: str) -> str:
    """The one of the `known` languages, lower-case tags, that the client likes best.

    Spec: RFC 4647 §3.4: `de-AT` is also `de`. Of two that are liked alike, the first that is named.
    """
    if not accept_language:
        return otherwise
    refused: set[str] = set()
    liked: list[tuple[float, int, str]] = []
    for place, (tag, weight) in enumerate(_entries(accept_language)):
        name = otherwise if tag == "*" else _known_form(tag, known)
        if name and weight > 0:
            liked.append((-weight, place, name))
        elif name and name == tag:
            refused.add(name)
    return next((name for _, _, name in sorted(liked) if name not in refused), otherwise)


def _known_form(tag: str, known: Collection[str]) -> str:
    while tag:
        if tag in known:
            return tag
        tag = tag.rpartition("-")[0]
    return ""


def _entries(header: bytes) -> Iterator[tuple[str, float]]:
    """The members of the list with their weights, in lower case."""
    text = header[:HEADER_BYTES].decode("ascii", "replace")
    for part in text.split(",")[:ENTRIES_MAX]:
        entry = _ENTRY.fullmatch(part)
        if entry is None:
            continue
        weight = _WEIGHT.search(entry[2])
        if weight is None and re.search(r";[ \t]*q[ \t]*=", entry[2], re.IGNORECASE):
            continue
        yield entry[1].lower(), 1.0 if weight is None else min(float(weight[1]), 1.0)
