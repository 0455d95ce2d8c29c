from __future__ import annotations

import gzip
import io
import mmap
import struct
import zipfile
from pathlib import Path

import pytest

from engines.archive import ArchiveOptions
from icapd.scan.model import FindingKind, Sample, Severity
from tests.engines import samples as s
from tests.engines.archive_probe import TEXT, found, members, unpack
from tests.engines.samples import zip_of

TWO = {"a.txt": TEXT, "dir/b.txt": TEXT[::-1]}


def patch(data: bytes, magic: bytes, offset: int, form: str, value: int, which: int = 0) -> bytes:
    """The archive with one header field overwritten; `which` counts the headers with that magic."""
    at = -1
    for _ in range(which + 1):
        at = data.index(magic, at + 1)
    out = bytearray(data)
    struct.pack_into(form, out, at + offset, value)
    return bytes(out)


def contents(data: bytes, options: ArchiveOptions | None = None) -> dict[str, bytes]:
    return {member.name: bytes(member.data) for member in members(unpack(Sample(data), options))}


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_come_with_names_and_trails(compression: int) -> None:
    items = unpack(Sample(zip_of(TWO, compression), name="up.zip", trail=("up.zip",)))
    assert found(items) == []
    assert {m.name: bytes(m.data) for m in members(items)} == TWO
    assert [m.trail for m in members(items)] == [("up.zip", "a.txt"), ("up.zip", "dir/b.txt")]


def test_a_zip_written_to_a_pipe_has_its_sizes_after_the_data() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, offset: int, whence: int = 0) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in TWO.items():
            archive.writestr(name, content)
    assert contents(out.getvalue()) == TWO
    cut = out.getvalue()[: out.getvalue().index(b"PK\x01\x02")]
    assert contents(cut) == TWO


def test_zip64_sizes_are_read() -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.txt", "w", force_zip64=True) as f,
    ):
        f.write(TEXT)
    assert contents(out.getvalue()) == {"a.txt": TEXT}


def test_folders_and_empty_members_are_no_samples() -> None:
    assert contents(zip_of({"d/": b"", "empty": b"", "a.txt": TEXT})) == {"a.txt": TEXT}


def test_an_empty_archive_is_no_damage() -> None:
    assert unpack(Sample(zip_of({}))) == []


def test_an_end_record_in_front_hides_nothing() -> None:
    local = zip_of({"a.txt": TEXT})
    assert contents(zip_of({}) + local[: local.index(b"PK\x01\x02")]) == {"a.txt": TEXT}


def test_a_folder_that_holds_bytes_is_a_member() -> None:
    archive = zip_of({"a.txt": TEXT}).replace(b"a.txt", b"a.tx/")
    archive = patch(archive, b"PK\x01\x02", 24, "<I", 0)
    assert contents(archive) == {"a.tx/": TEXT}


@pytest.mark.parametrize("before", [b"#!/bin/sh\nexit\n", s.pe(), s.GIF, s.HTML])
def test_prepended_data_hides_nothing(before: bytes) -> None:
    assert contents(before + zip_of(TWO)) == TWO


def test_a_comment_and_bytes_after_the_end_hide_nothing() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", TEXT)
        archive.comment = b"c" * 60_000
    assert contents(s.GIF + out.getvalue() + b"tail") == {"a.txt": TEXT}


def test_an_end_record_is_found_up_to_the_longest_comment() -> None:
    archive = s.GIF + zip_of({"a.txt": TEXT})
    assert contents(archive + bytes(65_535)) == {"a.txt": TEXT}
    assert contents(archive + bytes(65_536)) == {}


def test_the_marks_of_an_end_record_alone_are_no_archive() -> None:
    assert unpack(Sample(b"about the bytes PK\x05\x06 in text" + bytes(40))) == []


def test_a_mapped_file_is_read_like_bytes(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(zip_of(TWO))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert {m.name: bytes(m.data) for m in members(unpack(Sample(mapped)))} == TWO


def test_an_encrypted_member_is_found_and_the_others_are_scanned() -> None:
    archive = zip_of(TWO)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive = patch(archive, magic, offset, "<H", 1)
    data = bytearray(archive)
    at = data.index(b"a.txt") + 5
    data[at : at + 12] = b"\xa5" * 12
    items = unpack(Sample(bytes(data)))
    assert found(items) == [(FindingKind.ENCRYPTED, "encrypted:zip")]
    assert [m.name for m in members(items)] == ["dir/b.txt"]


def test_an_encryption_flag_that_lies_hides_nothing() -> None:
    archive = zip_of(TWO)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive = patch(archive, magic, offset, "<H", 1)
    assert contents(archive) == TWO


def test_aes_members_are_encrypted() -> None:
    items = unpack(Sample(patch(zip_of(TWO), b"PK\x01\x02", 10, "<H", 99)))
    assert (FindingKind.ENCRYPTED, "encrypted:zip") in found(items)


def test_an_unknown_method_is_unsupported_and_its_bytes_are_seen() -> None:
    archive = zip_of({"a.txt": TEXT}, zipfile.ZIP_STORED)
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        archive = patch(archive, magic, offset, "<H", 77)
    items = unpack(Sample(archive))
    assert found(items) == [(FindingKind.UNSUPPORTED, "unsupported:zip-method-77")]
    assert [m.data for m in members(items)] == [TEXT]


def test_a_cut_archive_gives_the_members_before_the_cut() -> None:
    archive = zip_of({"a.txt": TEXT, "b.txt": bytes(range(256)) * 400})
    items = unpack(Sample(archive[: archive.index(b"b.txt") + 300]))
    assert {FindingKind.CORRUPT} == {kind for kind, _ in found(items)}
    first, second = members(items)
    assert (first.name, first.data) == ("a.txt", TEXT)
    assert second.data
    assert (bytes(range(256)) * 400).startswith(bytes(second.data))


def test_a_damaged_member_is_corrupt_and_the_others_are_scanned() -> None:
    data = bytearray(zip_of(TWO))
    at = data.index(b"a.txt") + 5
    data[at : at + 8] = b"\xff" * 8
    items = unpack(Sample(bytes(data)))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:zip")]
    assert "dir/b.txt" in [m.name for m in members(items)]


def test_a_wrong_checksum_is_corrupt_and_the_content_is_seen() -> None:
    items = unpack(Sample(patch(zip_of({"a.txt": TEXT}), b"PK\x01\x02", 16, "<I", 12345)))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:zip")]
    assert [m.data for m in members(items)] == [TEXT]


def test_a_member_that_the_directory_does_not_name_is_seen() -> None:
    hidden = zip_of({"hidden.txt": b"hidden"}, zipfile.ZIP_STORED)
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    assert contents(hidden + zip_of(TWO)) == {**TWO, "hidden.txt": b"hidden"}


def test_headers_that_disagree_about_the_method_are_both_read() -> None:
    archive = patch(zip_of({"a.txt": TEXT}), b"PK\x01\x02", 10, "<H", 0)
    archive = patch(archive, b"PK\x01\x02", 24, "<I", len(TEXT))
    items = unpack(Sample(archive))
    assert (FindingKind.CORRUPT, "corrupt:zip-headers-disagree") in found(items)
    assert TEXT in [m.data for m in members(items)]


def test_member_names_are_made_safe() -> None:
    (member,) = members(unpack(Sample(zip_of({"../\x1b[2J" + "n" * 400: TEXT}))))
    assert member.name.startswith("../�[2J")
    assert len(member.name) == 255


def test_member_count_at_the_limit_and_past_it() -> None:
    archive = zip_of({f"{n}.txt": TEXT for n in range(4)})
    assert len(contents(archive, ArchiveOptions(max_members=4))) == 4
    items = unpack(Sample(archive), ArchiveOptions(max_members=3))
    assert len(members(items)) == 3
    assert found(items) == [(FindingKind.LIMIT, "archive.max_members")]


def test_unpacked_bytes_at_the_limit_and_past_it() -> None:
    archive = zip_of(TWO)
    assert len(contents(archive, ArchiveOptions(max_unpacked_bytes=2 * len(TEXT)))) == 2
    items = unpack(Sample(archive), ArchiveOptions(max_unpacked_bytes=2 * len(TEXT) - 1))
    assert (FindingKind.LIMIT, "archive.max_unpacked_bytes") in found(items)
    assert [m.name for m in members(items)] == ["a.txt"]


def test_member_bytes_at_the_limit_and_past_it() -> None:
    archive = zip_of({"a.txt": TEXT, "b.txt": b"short"})
    assert unpack(Sample(archive), ArchiveOptions(max_member_bytes=len(TEXT)))[-1]
    assert found(unpack(Sample(archive), ArchiveOptions(max_member_bytes=len(TEXT)))) == []
    items = unpack(Sample(archive), ArchiveOptions(max_member_bytes=len(TEXT) - 1))
    assert found(items) == [(FindingKind.LIMIT, "archive.max_member_bytes")]
    assert [m.data for m in members(items)] == [TEXT[:-1], b"short"]


def test_ratio_at_the_limit_and_past_it() -> None:
    floor = 8 * 1024 * 1024
    assert found(unpack(Sample(zip_of({"zeros": bytes(floor)})))) == []
    items = unpack(Sample(zip_of({"zeros": bytes(floor + 1), "b.txt": b"after the bomb"})))
    assert found(items) == [(FindingKind.LIMIT, "archive.max_ratio")]
    assert [m.name for m in members(items)] == ["zeros", "b.txt"]


def test_gzip_by_its_marks() -> None:
    out = io.BytesIO()
    with gzip.GzipFile("report.csv", "wb", fileobj=out) as file:
        file.write(TEXT)
    (member,) = members(unpack(Sample(out.getvalue())))
    assert (member.name, member.data) == ("report.csv", TEXT)
    (member,) = members(unpack(Sample(gzip.compress(TEXT), name="notes.gz")))
    assert (member.name, member.trail) == ("notes", ("notes",))
    items = unpack(Sample(gzip.compress(TEXT) + b"behind"))
    assert [m.data for m in members(items)] == [TEXT, b"behind"]
    items = unpack(Sample(gzip.compress(TEXT)[:-12]))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:gzip")]
    assert TEXT.startswith(bytes(members(items)[0].data))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bytes(7) + b"**ACE**" + bytes(30), "ace"),
        (b"MSWIM\x00\x00\x00" + bytes(200), "wim"),
    ],
)
def test_what_is_not_opened_is_said(data: bytes, name: str) -> None:
    (item,) = unpack(Sample(data))
    assert not isinstance(item, Sample)
    assert (item.kind, item.name, item.severity) == (FindingKind.UNSUPPORTED, f"not-opened:{name}", Severity.MEDIUM)


@pytest.mark.parametrize("data", [b"", s.HTML, s.png(), s.pe(), s.MP4, s.PLAIN])
def test_what_holds_nothing_is_not_opened(data: bytes) -> None:
    assert unpack(Sample(data)) == []
