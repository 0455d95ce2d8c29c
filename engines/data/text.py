"""From a sample to the text that its reader gets, without UTF-16, escapes of forms and JSON, and tags. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from icapd.scan.model import Identity

_FAMILIES: Final = frozenset({"text", "markup", "script"})
_TYPES: Final = frozenset({"application/json", "image/svg+xml", "application/rtf", "application/x-ndjson"})
_ESCAPE: Final = re.compile(rb"\\u00([0-9a-fA-F]{2})")
_TAGS: Final = re.compile(rb"(?:<[^<>]{1,2000}>|&nbsp;|&#160;|&#xa0;|\xc2\xa0)+")
_FORM: Final = re.compile(rb"[\w.~*%+\[\]-]{1,200}=[!-~]*")
_FORM_START_BYTES: Final = 4096


def is_text(identity: Identity) -> bool:
    return identity.family in _FAMILIES or identity.media_type in _TYPES


def plain_text(data: bytes, identity: Identity) -> bytes:
    """The text in UTF-8, or in the coding of one byte a letter that it has."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    if identity.family == "markup" or identity.media_type == "image/svg+xml":
        data = _TAGS.sub(b" ", data)
    if b"\\u00" in data:
        data = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), data)
    if (
        identity.family == "text"
        and (b"%" in data or b"+" in data)
        and _FORM.fullmatch(data[:_FORM_START_BYTES].strip())
    ):
        data = unquote_to_bytes(data.replace(b"+", b" ").replace(b"&", b" & "))
    return data
