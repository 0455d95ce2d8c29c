"""Compares what a body was declared to be with what it is. Pure; facts of one message, so never cached with content.

Only content that can do harm under a harmless name counts. What servers get wrong every day (scripts as text, JSON
as HTML, anything as octet-stream, compressed logs as text) is none of it.
"""

from __future__ import annotations

import re
from typing import Final

from icapd.scan.model import SERVER, Finding, FindingKind, Identity, Severity

PARTIAL: Final = "partial-content"
"""The name of the note that a response is a part of something."""

_DANGEROUS: Final = frozenset({"executable", "script", "archive", "office", "shortcut"})

_HARMLESS: Final = frozenset(
    {
        # Web scripts are declared as every kind of text; TypeScript as video/mp2t by its extension.
        "text/javascript",
        "application/wasm",
        # One compressed stream: logs, sitemaps, SVGZ and package indexes come under the type of what is inside.
        "application/gzip",
        "application/x-bzip2",
        "application/x-xz",
        "application/zstd",
        "application/x-lz4",
        "application/x-lzip",
        "application/x-compress",
    }
)

_TEXTUAL: Final = frozenset({"application/rtf", "application/x-desktop", "application/x-mswinurl"})
"""Dangerous, yet text: declared as text they are what they were declared to be."""

_TYPE_CLASSES: Final = {"image": "image", "font": "font", "audio": "media", "video": "media", "text": "text"}
_TYPE_EXCEPTIONS: Final[dict[str, str]] = {
    "application/pdf": "pdf",
    "application/font-woff": "font",
    "application/x-font-ttf": "font",
    "application/json": "text",
    "application/xml": "text",
    # Types whose files are RTF, OLE2 or ZIP by definition.
    "text/rtf": "",
    "text/richtext": "",
    "image/vnd.fpx": "",
    "image/openraster": "",
}
_SAYS_NOTHING: Final = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "application/x-download"}
)

_EXTENSION_CLASSES: Final[dict[str, str]] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "bmp", "ico", "svg", "avif", "tif", "tiff"), "image"),
    **dict.fromkeys(("woff", "woff2", "ttf", "otf"), "font"),
    **dict.fromkeys(("mp3", "mp4", "m4a", "m4v", "mov", "avi", "mkv", "webm", "ogg", "wav", "flac"), "media"),
    **dict.fromkeys(("txt", "csv", "css", "json", "log", "md"), "text"),
    "pdf": "pdf",
}
_HONEST_EXTENSIONS: Final = {
    "executable": re.compile(r"exe|dll|ms[ip]|com|scr|sys|cpl|ocx|so|dylib|elf|o|bin|run|appimage|class|dex|swf"),
    "archive": re.compile(
        r"zip|jar|apk|xpi|crx|[we]ar|whl|nupkg|7z|rar|cab|msu|tar|iso|img|dmg|deb|rpm|a|ar|lib|cpio|xar|pkg|vhdx?|wim"
        r"|ace|arj|chm|gz|tgz|bz2|xz|zst|docx|xlsx|pptx|od[tsp]|epub|kmz"
    ),
    "office": re.compile(r"do[ct][xm]?|xl[st][xmb]?|p[po][ts][xm]?|pub|vsdx?|msg|rtf|od[tsp]|one|db"),
    "shortcut": re.compile(r"lnk|url|desktop"),
}


_FROM_START: Final = re.compile(rb"bytes 0-([0-9]{1,18})/([0-9]{1,18})")


def _declared_class(media_type: str, extension: str) -> str:
    """What the receiver will take the body for: image, font, media, pdf, text, or empty when nothing harmless."""
    if media_type in _SAYS_NOTHING:
        return _EXTENSION_CLASSES.get(extension, "")
    if media_type in _TYPE_EXCEPTIONS:
        return _TYPE_EXCEPTIONS[media_type]
    return _TYPE_CLASSES.get(media_type.partition("/")[0], "")


def type_mismatch(declared: str | tuple[str, ...], extension: str, identity: Identity) -> Finding | None:
    """A finding when dangerous content was declared as something harmless.

    Args: `declared` is the Content-Type, parameters allowed, or all of several, as nobody knows which one a receiver
        takes; `extension` is the name's, without the dot.
    Returns: a finding of kind type-mismatch named as `executable-as-image`, or nothing.
    """
    if identity.family not in _DANGEROUS or identity.media_type in _HARMLESS:
        return None
    extension = extension.lower()
    for media_type in (declared,) if isinstance(declared, str) else declared or ("",):
        disguise = _disguise(media_type.partition(";")[0].strip().lower(), extension, identity)
        if disguise:
            name = f"{identity.family}-as-{disguise}"
            return Finding(FindingKind.TYPE_MISMATCH, name, "identify", Severity.MEDIUM)
    return None


def _disguise(media_type: str, extension: str, identity: Identity) -> str:
    """The class of harmless content that dangerous content was declared as; empty when it was not."""
    declared = _declared_class(media_type, extension)
    if declared != "text":
        return declared
    if identity.family == "script" or identity.media_type in _TEXTUAL:
        return ""
    # Servers send what they have no type for as text; the honest name mends that.
    return "" if _HONEST_EXTENSIONS[identity.family].fullmatch(extension) else declared


def partial_content(
    status: int, content_range: bytes | None, media_types: tuple[str, ...], size_bytes: int
) -> Finding | None:
    """A note that a response carries a part of something: what was found in it, or not, is not said of the whole.

    A range that is the whole (`bytes 0-9/10` of 10 bytes) is none: players ask so for what they want in full.

    Spec: RFC 9110 §15.3.7; a 206 of several ranges has its Content-Range in the parts.
    """
    has_parts = "multipart/byteranges" in media_types
    if status != 206 and content_range is None and not has_parts:
        return None
    whole = None if has_parts or content_range is None else _FROM_START.fullmatch(content_range)
    if whole is not None and int(whole[1]) + 1 == int(whole[2]) == size_bytes:
        return None
    return Finding(FindingKind.INFO, PARTIAL, SERVER, Severity.INFO)
