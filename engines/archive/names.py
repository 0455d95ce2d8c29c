"""Names of members: they come from outside, go into trails and logs, and nowhere near a file system."""

from __future__ import annotations

import codecs
from typing import Final

NAME_CHARACTERS: Final = 255
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")

codecs.lookup("cp437")  # now: Python reads its table from a file, and a scanner opens none


def member_name(raw: bytes, encoding: str) -> str:
    """A name for people: decoded, capped, without control characters."""
    name = raw[: NAME_CHARACTERS * 4].decode(encoding, "replace")
    return (name if name.isprintable() else name.translate(_CONTROL))[:NAME_CHARACTERS]
