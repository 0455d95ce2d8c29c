"""Changes headers of an HTTP head that passes. All other lines stay as they came, and in their order."""

from __future__ import annotations

import re
from functools import lru_cache

from icapd import PRODUCT
from icapd.policy.facts import HeaderEdits

_VIA = f"Via: ICAP/1.0 icapd ({PRODUCT})\r\n".encode("ascii")


def edited(head: bytes, edits: HeaderEdits) -> bytes:
    """The head without the removed headers, folded lines and all, and with the added ones at its end.

    Lines that a receiver may take for a header count as one: ended by a bare LF, or with blanks before the colon.
    """
    start = head.find(b"\n") + 1
    if not start or not head.endswith(b"\r\n"):
        return head
    fields = head[start:-2]
    if edits.removed:
        fields = _lines_of(edits.removed).sub(b"", fields)
    line = edits.line + b"\r\n" if edits.line else head[:start]
    return line + fields + edits.added + _VIA + b"\r\n"


@lru_cache(maxsize=256)
def _lines_of(names: tuple[bytes, ...]) -> re.Pattern[bytes]:
    any_name = b"|".join(map(re.escape, names))
    return re.compile(rb"^(?:%b)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*" % any_name, re.IGNORECASE | re.MULTILINE)
