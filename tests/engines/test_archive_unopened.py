"""Archives and disk images that are only recognised, and archives behind something else."""

from __future__ import annotations

import struct
import zlib

import pytest

from engines.archive import self_extracting
from engines.archive.findings import ENGINE
from engines.identify.placed import is_disk_image, is_lzma
from icapd.scan.model import Finding, FindingKind, Sample, Severity
from tests.engines import archive_fixtures as made
from tests.engines import archive_writing as written
from tests.engines import samples as s
from tests.engines.archive_probe import IDENTIFIER, found, members, unpack


def sectors(*marks: bytes) -> bytes:
    """The volume descriptors of an image, each a sector."""
    return bytes(16 * 2048) + b"".join(b"\x01" + mark + bytes(2047 - len(mark)) for mark in marks) + bytes(4096)


def boot_sector(at: int = 0, mark: bytes = b"", partitions: bytes = b"") -> bytes:
    head = bytearray(510)
    head[at : at + len(mark)] = mark
    head[446 : 446 + len(partitions)] = partitions
    return bytes(head) + b"\x55\xaa" + bytes(8192)


def placed(at: int, mark: bytes) -> bytes:
    return bytes(at) + mark + bytes(4096)


def squashfs(version: int = 4, block_log: int = 17) -> bytes:
    head = b"hsqs" + bytes(8) + struct.pack("<I", 1 << 17) + bytes(6) + struct.pack("<H", block_log)
    return head + bytes(4) + struct.pack("<HH", version, 0) + bytes(64)


PARTITION = struct.pack("<B3xB3xII", 0x80, 7, 2048, 4096)
KOLY = struct.pack(">4sII", b"koly", 4, 512) + bytes(500)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x12\x34\x31\x00\x00\x00\x90**ACE**" + bytes(40), "ace"),
        (b"ALZ\x01\x0a\x00\x00\x00BLZ\x01" + bytes(40), "alz"),
        (b"EGGA\x00\x01" + bytes(40), "egg"),
        (b"ZOO 2.10 Archive.\x1a\x00\x00\xdc\xa7\xc4\xfd" + bytes(40), "zoo"),
        (b"SIT!\x00\x01\x00\x00\x01\x00rLau" + bytes(40), "stuffit"),
        (b"StuffIt (c)1997-2002 Aladdin Systems, Inc.\r\n" + bytes(40), "stuffit"),
        (b"LRZI\x00\x06" + bytes(40), "lrzip"),
        (b"\x89LZO\x00\r\n\x1a\n" + bytes(40), "lzop"),
        (b"SZDD\x88\xf0\x27\x33A\x00" + bytes(40), "ms-compress"),
        (b"QFI\xfb\x00\x00\x00\x03" + bytes(600), "disk-image"),
        (b"KDMV\x01\x00\x00\x00" + bytes(600), "disk-image"),
        (boot_sector(partitions=PARTITION), "disk-image"),
        (boot_sector(54, b"FAT12   "), "disk-image"),
        (boot_sector(82, b"FAT32   "), "disk-image"),
        (boot_sector(3, b"NTFS    "), "disk-image"),
        (placed(0x438, b"\x53\xef\x01\x00"), "disk-image"),
        (placed(0x400, b"H+\x00\x04"), "disk-image"),
        (placed(0x20, b"NXSB"), "disk-image"),
        (placed(0x40, b"\x7f\x10\xda\xbe"), "disk-image"),
        (zlib.compress(bytes(9000)) + KOLY, "dmg"),
        (bytes(5000) + b"conectix" + bytes(504), "vhd"),
        (s.ELF + bytes(600) + squashfs(), "squashfs"),
    ],
)
def test_what_is_only_recognised_is_said(data: bytes, name: str) -> None:
    (item,) = unpack(Sample(data))
    assert item == Finding(FindingKind.UNSUPPORTED, f"not-opened:{name}", ENGINE, Severity.MEDIUM)


@pytest.mark.parametrize("last", [b"NSR02", b"NSR03"])
def test_an_iso_image_that_is_one_of_udf_too_is_not_judged_by_its_iso_files_alone(last: bytes) -> None:
    items = unpack(Sample(sectors(b"CD001", b"CD001", b"BEA01", last, b"TEA01")))
    assert (FindingKind.UNSUPPORTED, "not-opened:udf") in found(items)


def test_an_iso_image_alone_is_none_of_udf() -> None:
    items = unpack(Sample(sectors(b"CD001", b"CD001") + b"NSR02"))
    assert "not-opened:udf" not in [name for _, name in found(items)]


@pytest.mark.parametrize(
    "data",
    [
        s.ELF + bytes(600) + squashfs(version=3),
        s.ELF + bytes(600) + squashfs(block_log=16),
        s.ELF + bytes(600) + b"hsqs",
        zlib.compress(bytes(9000)) + b"koly" + bytes(508),
        boot_sector(),
        boot_sector(partitions=struct.pack("<B3xB3xII", 0x13, 7, 2048, 4096)),
        boot_sector(partitions=struct.pack("<B3xB3xII", 0, 7, 2048, 0)),
        boot_sector(54, b"FAT12   ")[:510] + bytes(600),
    ],
)
def test_what_only_looks_like_it_is_not(data: bytes) -> None:
    assert unpack(Sample(data)) == []


def test_a_boot_sector_that_is_cut_is_no_disk() -> None:
    image = boot_sector(partitions=PARTITION)
    assert is_disk_image(Sample(image[:512]))
    assert not is_disk_image(Sample(image[:511]))


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (struct.pack("<BIQ", 0x5D, 4096, 100), True),
        (struct.pack("<BIQ", 0x66, 1 << 23, (1 << 64) - 1), True),
        (struct.pack("<BIQ", 224, 3 << 20, (1 << 38) - 1), True),
        (struct.pack("<BIQ", 225, 3 << 20, 100), False),
        (struct.pack("<BIQ", 0x5D, 2048, 100), False),
        (struct.pack("<BIQ", 0x5D, 5 << 20, 100), False),
        (struct.pack("<BIQ", 0x5D, 1 << 20, 0), False),
        (struct.pack("<BIQ", 0x5D, 1 << 20, 1 << 38), False),
    ],
)
def test_lzma_without_a_mark_is_known_by_its_fields(head: bytes, is_one: bool) -> None:
    assert is_lzma(head + b"\x00") is is_one
    assert not is_lzma(head + b"\x01")
    assert not is_lzma(head)
    if is_one:
        assert IDENTIFIER.identify(Sample(head + bytes(4))).media_type == "application/x-lzma"


def cabinet(size_bytes: int, files_at: int = 44) -> bytes:
    head = b"MSCF" + bytes(4) + struct.pack("<IIII", size_bytes, 0, files_at, 0) + b"\x03\x01"
    return head.ljust(size_bytes, b"\x00")


@pytest.mark.parametrize("stub", [s.JPEG, s.GIF, s.PDF, b"#!/bin/sh\nexit\n"])
@pytest.mark.parametrize("archive", [made.SEVEN_ZIP, written.rar5({"note.txt": b"note"})])
def test_an_archive_behind_what_is_no_program(stub: bytes, archive: bytes) -> None:
    (member,) = members(unpack(Sample(stub + archive)))
    assert (member.name, bytes(member.data)) == ("appended-archive", archive)


def test_what_a_tar_holds_as_it_is_is_found_once() -> None:
    assert [item.name for item in members(unpack(Sample(s.tar_of({"a.7z": made.SEVEN_ZIP}))))] == ["a.7z"]


def test_an_archive_behind_a_stub_as_long_as_archivers_look_and_longer() -> None:
    header = struct.pack("<QQI", 0, 0, 0)
    archive = b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(header)) + header
    room = self_extracting.MAX_STUB_BYTES - 6
    assert [item.name for item in members(unpack(Sample(b"x" * room + archive)))] == ["appended-archive"]
    assert members(unpack(Sample(b"x" * (room + 1) + archive))) == []


@pytest.mark.parametrize("archive", [s.GZIP, s.BZ2, s.XZ, s.ZSTD, made.SEVEN_ZIP])
def test_what_a_shell_script_unpacks_from_itself(archive: bytes) -> None:
    script = b"#!/bin/sh\n" + b"# an installer\n" * 100 + b"tail -n +9 $0 | tar -x\nexit\n"
    (member,) = members(unpack(Sample(script + archive)))
    assert (member.name, bytes(member.data)) == ("appended-archive", archive)
    assert unpack(Sample(script + b"BZhello\n")) == []


def test_a_cabinet_in_a_program_is_cut_where_it_ends() -> None:
    stub = s.pe() + bytes(100)
    (member,) = members(unpack(Sample(stub + cabinet(80) + b"the rest of the program")))
    assert (member.name, bytes(member.data)) == ("appended-archive", cabinet(80))


def test_the_claimed_size_of_a_cabinet_in_a_program_hides_none_behind_it() -> None:
    bait = cabinet(80)[:8] + struct.pack("<I", 1 << 31) + cabinet(80)[12:]
    found_there = [bytes(item.data) for item in members(unpack(Sample(s.pe() + bait + made.CABINET)))]
    assert found_there == [bait + made.CABINET, made.CABINET]


def test_a_cabinet_is_known_and_opened_whatever_its_reserved_field_holds() -> None:
    odd = made.CABINET[:4] + b"abcd" + made.CABINET[8:]
    assert [(item.name, item.data) for item in members(unpack(Sample(odd)))] == [
        (item.name, item.data) for item in members(unpack(Sample(made.CABINET)))
    ]
    (member,) = members(unpack(Sample(s.pe() + odd)))
    assert member.data == odd
    assert IDENTIFIER.identify(Sample(b"MSCF" + odd[4:24] + b"\x02\x01" + odd[26:])).family != "archive"


@pytest.mark.parametrize("data", [cabinet(80, files_at=20), cabinet(80, files_at=80), cabinet(80)[:24] + bytes(60)])
def test_a_mark_of_a_cabinet_with_other_sizes_is_none(data: bytes) -> None:
    assert unpack(Sample(s.pe() + data)) == []
