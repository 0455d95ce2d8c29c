"""Archives that are recognised but not looked into. They were not judged at all: files are what they are for.

Some are known by a mark at their end, or behind a program or another file system, whatever they begin with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Buffer, Finding, Sample

_CONTAINERS: Final[dict[str, str]] = {
    "application/x-installshield": "installshield",
    "application/x-ace-compressed": "ace",
    "application/x-arj": "arj",
    "application/vnd.ms-htmlhelp": "chm",
    "application/x-ms-wim": "wim",
    "application/x-vhd": "vhd",
    "application/x-vhdx": "vhdx",
    "application/vnd.squashfs": "squashfs",
    "application/x-udf-image": "udf",
    "application/vnd.ms-outlook-pst": "pst",
    "application/x-alz-compressed": "alz",
    "application/x-egg-compressed": "egg",
    "application/x-freearc": "freearc",
    "application/x-zpaq": "zpaq",
    "application/x-zoo": "zoo",
    "application/x-stuffit": "stuffit",
    "application/x-lrzip": "lrzip",
    "application/x-rzip": "rzip",
    "application/x-lzop": "lzop",
    "application/x-ms-compress": "ms-compress",
    "application/x-raw-disk-image": "disk-image",
}


MEDIA_TYPES: Final = frozenset(_CONTAINERS)


_TRAILER_BYTES: Final = 512
_TRAILERS: Final = {b"koly": "dmg", b"cone": "vhd"}
_SECTOR_BYTES: Final = 2048
_VOLUMES_AT: Final = 16 * _SECTOR_BYTES + 1
_MAX_VOLUMES: Final = 64
_SQUASHFS: Final = b"hsqs"
_MAX_MARKS: Final = 64


def bears_mark(data: Buffer) -> bool:
    """A few looks at fixed places; programs are searched once."""
    return bool(_marked(data))


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    name = _CONTAINERS.get(sample.identity.media_type) or _marked(sample.data)
    yield findings.not_opened(name, sample.trail)


def _marked(data: Buffer) -> str:
    """What the data is by marks that do not stand at its beginning; nothing for nearly all."""
    trailer = data[-_TRAILER_BYTES:]
    name = _TRAILERS.get(bytes(trailer[:4]))
    if name and (trailer[:8] == b"conectix" or trailer[4:12] == b"\x00\x00\x00\x04\x00\x00\x02\x00"):
        return name
    if data[_VOLUMES_AT : _VOLUMES_AT + 5] == b"CD001" and _has_udf(data):
        return "udf"
    return "squashfs" if data[:4] == b"\x7fELF" and _has_squashfs(data) else ""


def _has_udf(data: Buffer) -> bool:
    """Whether an ISO 9660 image is one of UDF, too: systems that know both show the files of UDF (ECMA-167 2/8.3)."""
    for at in range(_VOLUMES_AT, _VOLUMES_AT + _MAX_VOLUMES * _SECTOR_BYTES, _SECTOR_BYTES):
        mark = data[at : at + 5]
        if mark in (b"NSR02", b"NSR03"):
            return True
        if mark not in (b"CD001", b"BEA01", b"BOOT2", b"CDW02"):
            return False
    return False


def _has_squashfs(data: Buffer) -> bool:
    """Whether a program carries a SquashFS, as AppImages do: a superblock of version 4 whose block size agrees."""
    at = data.find(_SQUASHFS)
    for _ in range(_MAX_MARKS):
        head = bytes(data[at : at + 32]) if at >= 0 else b""
        if len(head) < 32:
            return False
        block_bytes, block_log = int.from_bytes(head[12:16], "little"), int.from_bytes(head[22:24], "little")
        if head[28:32] == b"\x04\x00\x00\x00" and block_log <= 20 and block_bytes == 1 << block_log:
            return True
        at = data.find(_SQUASHFS, at + 1)
    return at >= 0
