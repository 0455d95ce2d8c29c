"""The literal table of magic bytes. Owns which leading bytes mean which type; knows nothing of text or of clocks.

A row is (leading bytes, second bytes at an offset or nothing, identity). Rows are tried in file order among those
that share their first byte, so a longer magic stands before a shorter one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from icapd.scan.model import Identity

Row = tuple[bytes, tuple[int, bytes] | None, Identity]

EMPTY: Final = Identity("application/x-empty", "empty", "no bytes")
PDF: Final = Identity("application/pdf", "document", "PDF")
ZIP: Final = Identity("application/zip", "archive", "ZIP")
OLE2: Final = Identity("application/x-ole-storage", "office", "OLE2 compound file")
TAR: Final = Identity("application/x-tar", "archive", "tar")
ISO9660: Final = Identity("application/x-iso9660-image", "archive", "ISO 9660")
PE: Final = Identity("application/vnd.microsoft.portable-executable", "executable", "PE")
DOS: Final = Identity("application/x-dosexec", "executable", "DOS MZ")
MACH_O: Final = Identity("application/x-mach-binary", "executable", "Mach-O")
JAVA_CLASS: Final = Identity("application/java-vm", "executable", "Java class")
MP4: Final = Identity("video/mp4", "video", "ISO media")
_ELF = Identity("application/x-elf", "executable", "ELF")
_TIFF = Identity("image/tiff", "image", "TIFF")
_MP3 = Identity("audio/mpeg", "audio", "MPEG audio")
_SWF = Identity("application/vnd.adobe.flash.movie", "executable", "Flash")
_PCAP = Identity("application/vnd.tcpdump.pcap", "data", "packet capture")
FORM: Final = Identity("multipart/form-data", "mail", "form")
LZH: Final = Identity("application/x-lzh-compressed", "archive", "LZH")
UDF: Final = Identity("application/x-udf-image", "archive", "UDF")
ACE: Final = Identity("application/x-ace-compressed", "archive", "ACE")
LZMA: Final = Identity("application/x-lzma", "archive", "LZMA")
DISK_IMAGE: Final = Identity("application/x-raw-disk-image", "archive", "disk image")
_STUFFIT = Identity("application/x-stuffit", "archive", "StuffIt")
_MS_COMPRESS = Identity("application/x-ms-compress", "archive", "Microsoft compress")
_CABINET = Identity("application/vnd.ms-cab-compressed", "archive", "cabinet")
_RAR = Identity("application/vnd.rar", "archive", "RAR")

_ROWS: Final[tuple[Row, ...]] = (
    # What a gateway sees all day.
    (b"\xff\xd8\xff", None, Identity("image/jpeg", "image", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", None, Identity("image/png", "image", "PNG")),
    (b"GIF87a", None, Identity("image/gif", "image", "GIF")),
    (b"GIF89a", None, Identity("image/gif", "image", "GIF")),
    (b"RIFF", (8, b"WEBP"), Identity("image/webp", "image", "WebP")),
    (b"wOF2", None, Identity("font/woff2", "font", "WOFF2")),
    (b"wOFF", None, Identity("font/woff", "font", "WOFF")),
    (b"%PDF-", None, PDF),
    (b"PK\x03\x04", None, ZIP),
    (b"\x1f\x8b\x08", None, Identity("application/gzip", "archive", "gzip")),
    (b"MZ", None, DOS),
    (b"\x7fELF", None, _ELF),
    # Containers.
    (b"PK\x05\x06", None, ZIP),
    (b"PK\x07\x08", None, ZIP),
    (b"7z\xbc\xaf\x27\x1c", None, Identity("application/x-7z-compressed", "archive", "7z")),
    (b"Rar!\x1a\x07\x01\x00", None, _RAR),
    (b"Rar!\x1a\x07\x00", None, _RAR),
    (b"MSCF\x00\x00\x00\x00", None, _CABINET),
    (b"MSCF", (24, b"\x03\x01"), _CABINET),
    (b"ISc(", None, Identity("application/x-installshield", "archive", "InstallShield cabinet")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, OLE2),
    (b"BZh", (4, b"\x31\x41\x59\x26\x53\x59"), Identity("application/x-bzip2", "archive", "bzip2")),
    (b"BZh", (4, b"\x17\x72\x45\x38\x50\x90"), Identity("application/x-bzip2", "archive", "bzip2")),
    (b"\xfd7zXZ\x00", None, Identity("application/x-xz", "archive", "xz")),
    (b"\x28\xb5\x2f\xfd", None, Identity("application/zstd", "archive", "zstd")),
    (b"\x04\x22\x4d\x18", None, Identity("application/x-lz4", "archive", "lz4")),
    (b"\x5d\x00\x00", (5, b"\xff" * 8), LZMA),
    (b"\x5d\x00\x00", (10, b"\x00\x00\x00"), LZMA),
    (b"LZIP", None, Identity("application/x-lzip", "archive", "lzip")),
    (b"\x1f\x9d", None, Identity("application/x-compress", "archive", "compress")),
    (b"\x1f\xa0", None, Identity("application/x-compress", "archive", "compress")),
    (b"!<arch>\ndebian-binary", None, Identity("application/vnd.debian.binary-package", "archive", "Debian package")),
    (b"!<arch>\n", None, Identity("application/x-archive", "archive", "ar")),
    (b"\xed\xab\xee\xdb", None, Identity("application/x-rpm", "archive", "RPM")),
    (b"070701", None, Identity("application/x-cpio", "archive", "cpio")),
    (b"070702", None, Identity("application/x-cpio", "archive", "cpio")),
    (b"070707", None, Identity("application/x-cpio", "archive", "cpio")),
    (b"\xc7\x71", None, Identity("application/x-cpio", "archive", "cpio")),
    (b"xar!", None, Identity("application/x-xar", "archive", "xar")),
    (b"ALZ\x01", None, Identity("application/x-alz-compressed", "archive", "ALZ")),
    (b"EGGA", None, Identity("application/x-egg-compressed", "archive", "EGG")),
    (b"ArC\x01", None, Identity("application/x-freearc", "archive", "FreeArc")),
    (b"7kSt\xa0\x31\x83\xd3", None, Identity("application/x-zpaq", "archive", "ZPAQ")),
    (b"ZOO ", (20, b"\xdc\xa7\xc4\xfd"), Identity("application/x-zoo", "archive", "Zoo")),
    (b"SIT!", (10, b"rLau"), _STUFFIT),
    (b"StuffIt!", None, _STUFFIT),
    (b"StuffIt (c)1997-", None, _STUFFIT),
    (b"LRZI", (4, b"\x00"), Identity("application/x-lrzip", "archive", "lrzip")),
    (b"RZIP", (4, b"\x02"), Identity("application/x-rzip", "archive", "rzip")),
    (b"\x89LZO\x00\r\n\x1a\n", None, Identity("application/x-lzop", "archive", "lzop")),
    (b"SZDD\x88\xf0\x27\x33", None, _MS_COMPRESS),
    (b"KWAJ\x88\xf0\x27\xd1", None, _MS_COMPRESS),
    (b"\x60\xea", None, Identity("application/x-arj", "archive", "ARJ")),
    (b"Cr24", None, Identity("application/x-chrome-extension", "archive", "CRX")),
    (b"ITSF\x03\x00\x00\x00", None, Identity("application/vnd.ms-htmlhelp", "archive", "compiled HTML help")),
    (b"MSWIM\x00\x00\x00", None, Identity("application/x-ms-wim", "archive", "WIM")),
    (b"conectix", None, Identity("application/x-vhd", "archive", "VHD")),
    (b"vhdxfile", None, Identity("application/x-vhdx", "archive", "VHDX")),
    (b"QFI\xfb", None, DISK_IMAGE),
    (b"KDMV", None, DISK_IMAGE),
    (b"WithoutFreeSpace", None, DISK_IMAGE),
    (b"WithouFreSpacExt", None, DISK_IMAGE),
    (b"hsqs", None, Identity("application/vnd.squashfs", "archive", "SquashFS")),
    (b"\x78\x9f\x3e\x22", None, Identity("application/vnd.ms-tnef", "mail", "TNEF")),
    # Things that run.
    (b"\xca\xfe\xba\xbe", None, JAVA_CLASS),
    (b"\xcf\xfa\xed\xfe", None, MACH_O),
    (b"\xce\xfa\xed\xfe", None, MACH_O),
    (b"\xfe\xed\xfa\xcf", None, MACH_O),
    (b"\xfe\xed\xfa\xce", None, MACH_O),
    (b"\x00asm", None, Identity("application/wasm", "executable", "WebAssembly")),
    (b"dex\n", None, Identity("application/vnd.android.dex", "executable", "Dalvik")),
    (b"CWS", None, _SWF),
    (b"FWS", None, _SWF),
    (b"ZWS", None, _SWF),
    (
        b"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46",
        None,
        Identity("application/x-ms-shortcut", "shortcut", "Windows shortcut"),
    ),
    # Documents.
    (b"{\\rt", None, Identity("application/rtf", "office", "RTF")),
    (b"%!PS", None, Identity("application/postscript", "document", "PostScript")),
    (b"\xc5\xd0\xd3\xc6", None, Identity("application/postscript", "document", "EPS")),
    (b"AT&TFORM", None, Identity("image/vnd.djvu", "document", "DjVu")),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", None, Identity("application/onenote", "office", "OneNote")),
    # Pictures, sound, film.
    (b"\x00\x00\x01\x00", None, Identity("image/vnd.microsoft.icon", "image", "icon")),
    (b"\x00\x00\x02\x00", None, Identity("image/vnd.microsoft.icon", "image", "cursor")),
    (b"BM", (6, b"\x00\x00\x00\x00"), Identity("image/bmp", "image", "BMP")),
    (b"II*\x00", None, _TIFF),
    (b"MM\x00*", None, _TIFF),
    (b"8BPS", None, Identity("image/vnd.adobe.photoshop", "image", "Photoshop")),
    (b"\xff\x0a", None, Identity("image/jxl", "image", "JPEG XL")),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", None, Identity("image/jxl", "image", "JPEG XL")),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", None, Identity("image/jp2", "image", "JPEG 2000")),
    (b"\x1aE\xdf\xa3", None, Identity("video/webm", "video", "Matroska")),
    (b"OggS", None, Identity("application/ogg", "audio", "Ogg")),
    (b"ID3", None, _MP3),
    (b"\xff\xfb", None, _MP3),
    (b"\xff\xfa", None, _MP3),
    (b"\xff\xf3", None, _MP3),
    (b"\xff\xf2", None, _MP3),
    (b"\xff\xf1", None, Identity("audio/aac", "audio", "AAC")),
    (b"\xff\xf9", None, Identity("audio/aac", "audio", "AAC")),
    (b"fLaC", None, Identity("audio/flac", "audio", "FLAC")),
    (b"MThd", None, Identity("audio/midi", "audio", "MIDI")),
    (b"RIFF", (8, b"WAVE"), Identity("audio/wav", "audio", "WAVE")),
    (b"RIFF", (8, b"AVI "), Identity("video/x-msvideo", "video", "AVI")),
    (b"RIFF", (8, b"ACON"), Identity("image/x-ani", "image", "animated cursor")),
    (b"FORM", (8, b"AIF"), Identity("audio/aiff", "audio", "AIFF")),
    (b"FLV\x01", None, Identity("video/x-flv", "video", "FLV")),
    (b"\x00\x00\x01\xba", None, Identity("video/mpeg", "video", "MPEG")),
    (b"\x00\x00\x01\xb3", None, Identity("video/mpeg", "video", "MPEG")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", None, Identity("video/x-ms-asf", "video", "ASF")),
    (b"G", (188, b"G"), Identity("video/mp2t", "video", "MPEG transport stream")),
    # Fonts.
    (b"\x00\x01\x00\x00\x00", None, Identity("font/ttf", "font", "TrueType")),
    (b"true\x00", None, Identity("font/ttf", "font", "TrueType")),
    (b"OTTO\x00", None, Identity("font/otf", "font", "OpenType")),
    (b"ttcf\x00", None, Identity("font/collection", "font", "font collection")),
    # Data.
    (b"SQLite format 3\x00", None, Identity("application/vnd.sqlite3", "data", "SQLite")),
    (b"\xd4\xc3\xb2\xa1", None, _PCAP),
    (b"\xa1\xb2\xc3\xd4", None, _PCAP),
    (b"bplist", None, Identity("application/x-bplist", "data", "binary property list")),
    (b"!BDN", None, Identity("application/vnd.ms-outlook-pst", "mail", "PST")),
)


def _by_first_byte() -> tuple[tuple[Row, ...], ...]:
    index: defaultdict[int, list[Row]] = defaultdict(list)
    for row in _ROWS:
        index[row[0][0]].append(row)
    return tuple(tuple(index[byte]) for byte in range(256))


_INDEX: Final = _by_first_byte()


def lookup(head: bytes) -> Identity | None:
    """The first row whose bytes are there, or nothing. `head` is not empty."""
    for magic, second, identity in _INDEX[head[0]]:
        if head.startswith(magic) and (second is None or head.startswith(second[1], second[0])):
            return identity
    return None
