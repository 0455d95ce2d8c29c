"""Says what bytes are: the magic table, then text, then libmagic. Order is by cost.

libmagic takes from a fifth of a millisecond to several for one look (measured; text is its slow case), the table some
two microseconds, so libmagic sees only binary data that the table does not know, and of that the first 2 KB.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from engines.identify import text
from engines.identify.containers import REFINE, iso_media_identity
from engines.identify.placed import is_ace, is_disk_image, is_lzma
from engines.identify.signatures import ACE, DISK_IMAGE, EMPTY, FORM, ISO9660, LZH, LZMA, PDF, TAR, UDF, lookup
from icapd.scan.model import UNKNOWN_IDENTITY, Identity, Sample

HEAD_BYTES: Final = 512
LIBMAGIC_BYTES: Final = 2048
MAX_ASKS: Final = 500
"""Times libmagic is asked about a body and its members: with a millisecond each, ten thousand members of zeros are a
bomb. What it is not asked about stays unknown, which every engine looks into."""
PDF_HEADER_WITHIN_BYTES: Final = 1024
"""Readers open a PDF whose header stands anywhere in the first 1024 bytes (PDF 1.7, Appendix H, note 13)."""
_ISO_OFFSET: Final = 0x8001
_VOLUMES: Final = {b"CD001": ISO9660, b"BEA01": UDF}
_FORM: Final = re.compile(rb"--[^\r\n]{1,200}\r?\ncontent-disposition[ \t]*:[ \t]*form-data", re.IGNORECASE)
_LZH_METHOD: Final = re.compile(rb"-l(?:h[0-9d]|z[s45])-")

_FAMILIES: Final[dict[str, str]] = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "video": "video",
    "font": "font",
    "message": "mail",
}


class Libmagic(Protocol):
    """What python-magic's Magic offers of libmagic."""

    def from_buffer(self, buf: bytes) -> str: ...


class ContentIdentifier:
    """The identifier over our table and libmagic.

    State: `libmagic` is a loaded library handle or nothing; `_asks_left` is how often it may still be asked about
    members of the body that was identified last.
    """

    name = "identify"

    def __init__(self, libmagic: Libmagic | None) -> None:
        self._libmagic = libmagic
        self._asks_left = MAX_ASKS

    def identify(self, sample: Sample) -> Identity:
        if not sample.trail:
            self._asks_left = MAX_ASKS
        head = sample.head(HEAD_BYTES)
        if not head:
            return EMPTY
        found = lookup(head)
        if found is not None and not _is_prose(head, found):
            refine = REFINE.get(found.media_type)
            return refine(sample.head(LIBMAGIC_BYTES)) if refine else found
        if head.startswith(b"ftyp", 4):
            return iso_media_identity(head)
        if head.startswith(b"--") and _FORM.match(head):
            return FORM
        found = text.text_identity(head)
        if found is None or found is text.PLAIN:
            return self._rare(sample, head, found)
        return found

    def _rare(self, sample: Sample, head: bytes, found: Identity | None) -> Identity:
        """The formats whose magic is not at the start, then libmagic unless the bytes are plain text."""
        if b"%PDF-" in sample.head(PDF_HEADER_WITHIN_BYTES + 5):
            return PDF
        if found is not None:
            # A licence longer than the head hides whether code or style follows.
            is_hidden = len(head) == HEAD_BYTES and head.lstrip().startswith((b"/*", b"//"))
            return (is_hidden and text.text_identity(sample.head(LIBMAGIC_BYTES))) or found
        if head.startswith(b"ustar", 257):
            return TAR
        if _LZH_METHOD.match(head, 2):
            return LZH
        utf16 = text.from_utf16(head)
        if utf16:
            return text.text_identity(utf16) or text.PLAIN
        if sample.size_bytes > _ISO_OFFSET + 5 and (
            image := _VOLUMES.get(sample.data[_ISO_OFFSET : _ISO_OFFSET + 5])
        ):
            return image
        if is_ace(head):
            return ACE
        if is_disk_image(sample):
            return DISK_IMAGE
        # A body in a content coding is judged decoded; brotli has no magic for libmagic to know.
        if sample.coding:
            return UNKNOWN_IDENTITY
        found = self._ask_libmagic(sample.head(LIBMAGIC_BYTES))
        return LZMA if found is UNKNOWN_IDENTITY and is_lzma(head) else found

    def _ask_libmagic(self, head: bytes) -> Identity:
        if self._libmagic is None or self._asks_left <= 0:
            return UNKNOWN_IDENTITY
        self._asks_left -= 1
        media_type = self._libmagic.from_buffer(head)
        if media_type == UNKNOWN_IDENTITY.media_type:
            return UNKNOWN_IDENTITY
        return Identity(media_type, _FAMILIES.get(media_type.partition("/")[0], "data"), "by libmagic")


def _is_prose(head: bytes, found: Identity) -> bool:
    """True for text that happens to begin like a program or an archive: "MZ", "CWS", "070701", "LZIP" are letters."""
    return found.family in ("executable", "archive") and b"\x00" not in head and text.is_text(head)
