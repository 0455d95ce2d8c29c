"""Binary formats whose mark stands elsewhere than at the start, or that have none and are known by their fields."""

from __future__ import annotations

import struct
from typing import Final

from icapd.scan.model import Sample

_SECTOR_BYTES: Final = 512
_BOOT_MARK: Final = b"\x55\xaa"
_FILE_SYSTEMS: Final = ((3, b"NTFS    "), (3, b"EXFAT   "), (54, b"FAT"), (82, b"FAT32"))
"""Where a boot sector names its file system, and how."""
_VOLUMES: Final = (
    (0x40, b"\x7f\x10\xda\xbe"),  # VirtualBox
    (0x200, b"EFI PART"),  # a partition table without a protective one before it
    (0x400, b"H+\x00\x04"),
    (0x400, b"HX\x00\x05"),
    (0x20, b"NXSB"),  # APFS
    (0x438, b"\x53\xef\x01\x00"),  # ext2 to ext4, clean
    (0x438, b"\x53\xef\x02\x00"),
)
_PARTITIONS_AT: Final = 446
_PARTITION: Final = struct.Struct("<B3xB3xII")
_LZMA_HEAD: Final = struct.Struct("<BIQ")
_LZMA_PROPERTIES: Final = 9 * 5 * 5
_LZMA_MAX_BYTES: Final = 1 << 38
_UNKNOWN: Final = (1 << 64) - 1


def is_ace(head: bytes) -> bool:
    """The mark of ACE stands behind checksum, size, type and flags of the first header."""
    return head.startswith(b"**ACE**", 7)


def is_disk_image(sample: Sample) -> bool:
    """A disk or a file system as it lies on a disk: what virtual machines and, on a double click, systems mount."""
    head = sample.head(_SECTOR_BYTES)
    if len(head) < _SECTOR_BYTES:
        return False
    if head.endswith(_BOOT_MARK) and (
        any(head.startswith(mark, at) for at, mark in _FILE_SYSTEMS) or _has_partitions(head)
    ):
        return True
    return any(sample.data[at : at + len(mark)] == mark for at, mark in _VOLUMES)


def _has_partitions(head: bytes) -> bool:
    """Whether a boot record has a usable partition table: known states, and sizes where there are types."""
    used = 0
    for state, kind, start, sectors in _PARTITION.iter_unpack(head[_PARTITIONS_AT : _SECTOR_BYTES - 2]):
        if state not in (0, 0x80) or (kind and not (start and sectors)):
            return False
        used += bool(kind)
    return used > 0


def is_lzma(head: bytes) -> bool:
    """Whether the fields that .lzma begins with are such as encoders write; the format has no mark.

    As in xz: properties in range, a dictionary of 2^n or 2^n + 2^(n-1) bytes, a size unknown or below
    256 GiB. The first byte of the data itself is always zero.
    """
    if len(head) < _LZMA_HEAD.size + 1 or head[_LZMA_HEAD.size]:
        return False
    properties: int
    dictionary_bytes: int
    properties, dictionary_bytes, size_bytes = _LZMA_HEAD.unpack_from(head)
    if properties >= _LZMA_PROPERTIES or not (0 < size_bytes < _LZMA_MAX_BYTES or size_bytes == _UNKNOWN):
        return False
    return dictionary_bytes >= 4096 and dictionary_bytes.bit_count() + _is_half_more(dictionary_bytes) == 1


def _is_half_more(number: int) -> int:
    """-1 for 2^n + 2^(n-1), so that its two bits count as one."""
    return -1 if number.bit_count() == 2 and number & (number << 1) else 0
