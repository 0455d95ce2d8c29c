"""JavaScript of a PDF made comparable: lower case, without comments, its strings put together."""

from __future__ import annotations

import re
from typing import Final

SCRIPT_CHARACTERS_MAX: Final = 4 * 1024 * 1024

_STRING_OR_COMMENT = re.compile(
    r"(\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?)|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?", re.DOTALL
)
_JOIN = re.compile(r"([\"'])[ \t\r\n]*\+[ \t\r\n]*\1")
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_QUOTED_MEMBER = re.compile(r"\[[ \t]*['\"](\w{1,64})['\"][ \t]*\]")


def prepare(source: str) -> str:
    """A script's text as the rows of the table can be looked for in it; both ways of writing a member are one."""
    text = source[:SCRIPT_CHARACTERS_MAX].replace("\0", "")
    text = _STRING_OR_COMMENT.sub(_keep_string, text).lower()
    text = _JOIN.sub("", _HEX.sub(_unhex, text))
    return _QUOTED_MEMBER.sub(r".\1", text)


def _keep_string(match: re.Match[str]) -> str:
    return match[1] or " "


def _unhex(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16)).lower()
    return char if char not in "\\\"'\n" else " "
