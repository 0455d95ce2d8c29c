"""Changes headers of an HTTP head that passes. All other lines stay as they came, and in their order."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import structs

from icapd import PRODUCT
from icapd.icap import RequestHead
from icapd.icap.head import HeaderLines
from icapd.policy.facts import Decision, HeaderEdits

_RANGE = (b"range", b"if-range")
_VIA = f"Via: ICAP/1.0 icapd ({PRODUCT})\r\n".encode("ascii")


def for_the_whole(decision: Decision, head: RequestHead) -> Decision:
    """The decision on a request that passes, with which it asks for the whole where it asked for a part.

    Spec: RFC 9110 §14.2: a server may ignore Range, so every client takes the whole instead.
    """
    if (
        head.method != "REQMOD"
        or head.has_body
        or decision.refuses
        or HeaderLines(head.http_request).value(b"range") is None
    ):
        return decision
    edits = decision.edits or HeaderEdits(b"", ())
    return structs.replace(decision, edits=HeaderEdits(edits.added, (*edits.removed, *_RANGE)))


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
