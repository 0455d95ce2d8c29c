"""Tells apart the types that share leading bytes: ZIP by its first entry, OLE2, MZ, 0xCAFEBABE and ISO media."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from engines.identify.signatures import DOS, JAVA_CLASS, MACH_O, MP4, OLE2, PE, ZIP
from icapd.scan.model import Identity

_OOXML = Identity("application/vnd.openxmlformats-officedocument", "office", "Office Open XML")
_JAR = Identity("application/java-archive", "archive", "JAR")
_MSI = Identity("application/x-msi", "executable", "Windows Installer")

_ZIP_FIRST_ENTRY: Final[tuple[tuple[bytes, Identity], ...]] = (
    (b"[Content_Types].xml", _OOXML),
    (b"_rels/", _OOXML),
    (b"docProps/", _OOXML),
    (b"word/", Identity("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "office", "Word")),
    (b"xl/", Identity("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "office", "Excel")),
    (b"ppt/", Identity("application/vnd.openxmlformats-officedocument.presentationml.presentation", "office", "PPT")),
    (b"AndroidManifest.xml", Identity("application/vnd.android.package-archive", "archive", "APK")),
    (b"META-INF/", _JAR),
)
_OOXML_PARTS: Final = ((b"word/", 3), (b"xl/", 4), (b"ppt/", 5))

_BRANDS: Final[dict[bytes, Identity]] = {
    b"avif": Identity("image/avif", "image", "AVIF"),
    b"avis": Identity("image/avif", "image", "AVIF"),
    b"heic": Identity("image/heic", "image", "HEIC"),
    b"heix": Identity("image/heic", "image", "HEIC"),
    b"mif1": Identity("image/heif", "image", "HEIF"),
    b"M4A ": Identity("audio/mp4", "audio", "MPEG-4 audio"),
    b"M4B ": Identity("audio/mp4", "audio", "MPEG-4 audio"),
    b"qt  ": Identity("video/quicktime", "video", "QuickTime"),
}


def zip_identity(head: bytes) -> Identity:
    """What a ZIP is for, by the name of its first entry (APPNOTE 4.3.7: name length at 26, extra length at 28)."""
    if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
        return ZIP
    name_bytes, extra_bytes = struct.unpack_from("<HH", head, 26)
    name = head[30 : 30 + name_bytes]
    if name == b"mimetype":
        return _open_document(head[30 + name_bytes + extra_bytes :])
    for start, identity in _ZIP_FIRST_ENTRY:
        if name.startswith(start):
            return _ooxml_kind(head) if identity is _OOXML else identity
    return ZIP


def _ooxml_kind(head: bytes) -> Identity:
    """Which Office program, when a later entry's name already stands in the head; otherwise Office in general."""
    for part, row in _OOXML_PARTS:
        if part in head:
            return _ZIP_FIRST_ENTRY[row][1]
    return _OOXML


def _open_document(content: bytes) -> Identity:
    """OpenDocument and EPUB store their media type, uncompressed, as the first entry's content."""
    if content.startswith(b"application/epub+zip"):
        return Identity("application/epub+zip", "document", "EPUB")
    if content.startswith(b"application/vnd.oasis.opendocument"):
        return Identity("application/vnd.oasis.opendocument", "office", "OpenDocument")
    return ZIP


def _ole2_identity(head: bytes) -> Identity:
    """The installer database says so in the root entry's class id, when the root directory is in the head."""
    if len(head) < 52:
        return OLE2
    sector_bytes = 1 << min(struct.unpack_from("<H", head, 30)[0], 16)
    root = (struct.unpack_from("<I", head, 48)[0] + 1) * sector_bytes
    class_id = head[root + 80 : root + 96]
    return _MSI if class_id.startswith(b"\x84\x10\x0c\x00\x00\x00\x00\x00\xc0") else OLE2


def _mz_identity(head: bytes) -> Identity:
    """PE when the header that MZ points at is there, or lies beyond the head."""
    if len(head) < 64:
        return DOS
    offset: int = struct.unpack_from("<I", head, 60)[0]
    return PE if head.startswith(b"PE\x00\x00", offset) or offset >= len(head) else DOS


def _cafebabe_identity(head: bytes) -> Identity:
    """A fat Mach-O counts its architectures (a few) where a class file has its version (45 and up)."""
    return MACH_O if len(head) >= 8 and struct.unpack_from(">I", head, 4)[0] < 40 else JAVA_CLASS


def iso_media_identity(head: bytes) -> Identity:
    """MP4, QuickTime, AVIF or HEIC by the major brand after `ftyp`."""
    return _BRANDS.get(head[8:12], MP4)


REFINE: Final[dict[str, Callable[[bytes], Identity]]] = {
    ZIP.media_type: zip_identity,
    OLE2.media_type: _ole2_identity,
    DOS.media_type: _mz_identity,
    JAVA_CLASS.media_type: _cafebabe_identity,
}
"""A type found by its leading bytes alone, to the function that looks closer."""
