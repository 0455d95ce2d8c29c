"""Archives behind another container, or in what its members leave: found there, and what it holds found once."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import pytest

from engines.archive.self_extracting import MAX_ARCHIVES, MAX_STUB_BYTES
from icapd.scan.model import Sample
from tests.engines import archive_fixtures as made
from tests.engines import archive_writing as written
from tests.engines.archive_probe import found, members, unpack
from tests.engines.samples import tar_of, zip_of

RAR = written.rar5({"note.txt": b"note"})
HELD = {"a.7z": made.SEVEN_ZIP, "b.rar": RAR, "c.txt": b"soup"}


def pax_of(held: dict[str, bytes], **headers: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in held.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(data), {"comment": "soup", **headers}
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def odc(held: dict[str, bytes]) -> bytes:
    """cpio in its portable form before SVR4."""
    out = b""
    for name, data in {**held, "TRAILER!!!": b""}.items():
        fields = (0, 0, 0o100644, 0, 0, 1, 0)
        out += b"070707" + b"%06o%06o%06o%06o%06o%06o%06o" % fields + b"%011o%06o" % (0, len(name) + 1)
        out += b"%011o" % len(data) + name.encode() + b"\0" + data
    return out


def link_of(size_bytes: int) -> bytes:
    """A tar of one link that claims data."""
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0
    head = bytearray(entry.tobuf())
    head[124:136] = b"%011o\0" % size_bytes
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(1024)


CONTAINERS = {
    "zip": zip_of(HELD, zipfile.ZIP_STORED),
    "zip of nothing": zip_of({}),
    "crx": b"Cr24" + struct.pack("<II", 3, 8) + bytes(8) + zip_of(HELD, zipfile.ZIP_STORED),
    "tar": tar_of(HELD),
    "tar with extended headers": pax_of(HELD),
    "ar": written.ar(HELD),
    "cpio": written.cpio(HELD),
    "cpio, portable": odc(HELD),
    "iso9660": made.ISO9660,
    "7z": made.SEVEN_ZIP,
}


def appended(data: bytes) -> list[bytes]:
    return [bytes(item.data) for item in members(unpack(Sample(data))) if item.name == "appended-archive"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_archive_behind_a_container_is_found_and_what_the_container_holds_is_found_once(name: str) -> None:
    assert appended(CONTAINERS[name]) == []
    assert appended(CONTAINERS[name] + RAR) == [RAR]
    assert appended(CONTAINERS[name] + bytes(700) + RAR) == [RAR]


def test_an_archive_before_the_volume_of_an_image_is_found() -> None:
    image = made.ISO9660
    assert RAR in [data[: len(RAR)] for data in appended(image[:100] + RAR + image[100 + len(RAR) :])]


def test_an_archive_behind_rich_text_is_found() -> None:
    assert appended(rb"{\rtf1 soup}" + RAR) == [RAR]


@pytest.mark.parametrize("pack", [lambda held: zip_of(held, zipfile.ZIP_STORED), tar_of, written.ar, written.cpio])
def test_any_number_of_archives_in_a_package_is_no_limit(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    items = unpack(Sample(pack({f"{number}.7z": made.SEVEN_ZIP for number in range(MAX_ARCHIVES * 5)})))
    assert [item.name for item in members(items)] == [f"{number}.7z" for number in range(MAX_ARCHIVES * 5)]
    assert found(items) == []


@pytest.mark.parametrize(
    "data",
    [link_of(1 << 30), pax_of({"a": b"a"}, size="1").replace(b"00000000001\0", b"00000100000\0")],
    ids=["a link", "a size that another one replaces"],
)
def test_a_size_that_readers_of_tar_pass_over_hides_nothing(data: bytes) -> None:
    assert RAR in appended(data + RAR)


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("start", [zip_of({}), zip_of({"c": b"soup"})])
def test_a_header_that_no_directory_names_hides_no_archive(start: bytes, method: int) -> None:
    """Damage in what only looks like a member is no finding, so an archive in it must be one."""
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, method, 0, 0, zlib.crc32(RAR), len(RAR), len(RAR), 1, 0) + b"x"
    taken = members(unpack(Sample(start + head + RAR)))
    assert [bytes(item.data) for item in taken if item.name == ("appended-archive" if method else "x")] == [RAR]


def test_in_a_zip_without_a_directory_what_is_stored_is_found_once() -> None:
    data = zip_of(HELD, zipfile.ZIP_STORED)
    assert appended(data[: data.index(b"PK\1\2")]) == []


def test_behind_a_container_is_searched_as_far_as_archivers_look() -> None:
    empty = zip_of({})
    archive = made.SEVEN_ZIP
    room = MAX_STUB_BYTES - 6 - len(empty)
    assert appended(empty + b"x" * room + archive) == [archive]
    assert appended(empty + b"x" * (room + 1) + archive) == []
