"""Containers that are recognised but not looked into: each is recorded, so that nobody takes it for inspected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.archive import findings
from engines.archive.limits import ArchiveOptions
from icapd.scan.model import Budget, Finding, Sample

_CONTAINERS: Final[dict[str, str]] = {
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/vnd.ms-cab-compressed": "cab",
    "application/x-installshield": "installshield",
    "application/x-tar": "tar",
    "application/x-bzip2": "bzip2",
    "application/x-xz": "xz",
    "application/zstd": "zstd",
    "application/x-lz4": "lz4",
    "application/x-lzip": "lzip",
    "application/x-compress": "compress",
    "application/vnd.debian.binary-package": "deb",
    "application/x-archive": "ar",
    "application/x-rpm": "rpm",
    "application/x-cpio": "cpio",
    "application/x-xar": "xar",
    "application/x-ace-compressed": "ace",
    "application/x-arj": "arj",
    "application/x-lzh-compressed": "lzh",
    "application/vnd.ms-htmlhelp": "chm",
    "application/x-ms-wim": "wim",
    "application/x-vhd": "vhd",
    "application/x-vhdx": "vhdx",
    "application/vnd.squashfs": "squashfs",
    "application/x-iso9660-image": "iso9660",
    "application/onenote": "onenote",
    "application/pdf": "pdf",
    "application/vnd.ms-tnef": "tnef",
    "application/vnd.ms-outlook-pst": "pst",
    "message/rfc822": "mail",
}


def matches(sample: Sample) -> bool:
    return sample.identity.media_type in _CONTAINERS


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    yield findings.not_opened(_CONTAINERS[sample.identity.media_type], sample.trail)
