"""Text in UTF-16: browsers and interpreters read it as any other, and so do rules and readers once it is UTF-8."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Final

from engines.embedded import coded
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample

_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_FAMILIES: Final = frozenset({"text", "markup", "script", "shortcut", "mail"})
_JSON: Final = "application/json"
_LOOKED_AT_BYTES: Final = 64
_TEXT: Final = frozenset((9, 10, 13, *range(32, 127)))


def matches(sample: Sample) -> bool:
    return bool(_encoding_of(sample))


def _encoding_of(sample: Sample) -> str:
    """By the mark at its start, or, where nothing else is known of it, by zeros at every other place."""
    head = sample.head(_LOOKED_AT_BYTES)
    marked = _MARKS.get(head[:2], "")
    if marked:
        return marked if sample.identity.family in _FAMILIES or sample.identity.media_type == _JSON else ""
    if len(head) == _LOOKED_AT_BYTES and head.count(0) == _LOOKED_AT_BYTES // 2:
        for at, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if not any(head[at::2]) and _TEXT.issuperset(head[1 - at :: 2]):
                return encoding
    return ""


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the text once more, as UTF-8, without its mark; nothing for what is no UTF-16."""
    encoding = _encoding_of(sample)
    if not encoding:
        return
    budget.take_member()
    budget.take_bytes(sample.size_bytes * 3 // 2)
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    start = 2 if sample.head(2) in _MARKS else 0
    out = io.BytesIO()
    for window in coded.windows(sample.data, start, sample.size_bytes):
        budget.check_time()
        out.write(decoder.decode(window).encode("utf-8", "replace"))
    if out.tell():
        yield sample.member(out.getvalue(), "utf-8")
