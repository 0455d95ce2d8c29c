"""What a module's compiled code says apart from its comments, which are compiled too but do nothing.

A comment is an instruction, its column, its length and its text. It is taken out only where the source holds the same
comment: no other words of a source can keep compiled code from being judged.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from engines.office.vba_text import comments
from icapd.scan.model import Budget

_CODE_LINE = re.compile(rb"(?mi)^[ \t]*(?!attribute |rem\s)[^\s']")
_COMMENT = re.compile(rb"[\xd7\xd8\xe0\xe3]\0(?=([\x00-\xff]{4}))")
"""The instruction has another number in each generation of Visual Basic."""
_STRINGS: Final = frozenset({0xAD, 0xAE, 0xB6, 0xB9})
"""Numbers of the instruction that holds a string: in place of a column, the text may be one that is used."""
_LINE_BYTES_MAX: Final = 1023


def code_of(cache: bytes, sources: list[bytes], budget: Budget) -> bytes:
    """A module's compiled code without the comments of its sources; all of it where one of them has no code.

    Raises: DeadlineReached.
    """
    if not all(_CODE_LINE.search(source) for source in sources):
        return cache
    said = frozenset().union(*(comments(source.decode("latin-1")) for source in sources))
    kept = bytearray()
    done = 0
    for count, match in enumerate(_COMMENT.finditer(cache) if said else ()):
        if count % 4096 == 0:
            budget.check_time()
        column, size_bytes = struct.unpack("<HH", match[1])
        start = match.end() + 4
        if match.start() < done or column in _STRINGS or size_bytes > _LINE_BYTES_MAX:
            continue
        if cache[start : start + size_bytes].decode("latin-1").lstrip("'").strip() in said:
            kept += cache[done : match.start()] + b"\n"
            done = start + size_bytes
    return bytes(kept) + cache[done:]
