"""Every format that is opened: good, cut short, damaged, encrypted, with names that lie."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import zlib
from random import Random

import pytest
import zstandard

from engines.archive import ArchiveOptions, binding, xar_files
from engines.archive.self_extracting import MAX_ARCHIVES, MAX_MARKS
from icapd.scan.model import FindingKind, Sample
from tests.engines import archive_fixtures as made
from tests.engines import archive_writing as written
from tests.engines.archive_fixtures import SOUP
from tests.engines.archive_probe import IDENTIFIER, found, members, unpack
from tests.engines.samples import tar_of

ONE = {"soup.txt": SOUP}
TWO = {"soup.txt": SOUP, "sub/more.txt": SOUP}

ARCHIVES: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "7z": (made.SEVEN_ZIP, TWO),
    "cab": (made.CABINET, TWO),
    "iso9660": (made.ISO9660, {"soup.txt": SOUP, "more.txt": SOUP}),
    "tar": (tar_of(TWO), TWO),
    "rar4": (written.rar4(TWO), TWO),
    "rar5": (written.rar5(TWO), TWO),
    "lzh": (written.lzh(TWO), TWO),
    "cpio": (written.cpio(TWO), TWO),
    "ar": (written.ar({"soup.txt": SOUP, "b": SOUP}), {"soup.txt": SOUP, "b": SOUP}),
    "deb": (written.ar({"debian-binary": b"2.0\n", "data.tar": SOUP}), {"debian-binary": b"2.0\n", "data.tar": SOUP}),
    "rpm": (written.rpm(SOUP), {"payload": SOUP}),
    "xar": (written.xar(TWO), TWO),
}
STREAMS: dict[str, bytes] = {
    "bzip2": bz2.compress(SOUP),
    "xz": lzma.compress(SOUP),
    "lzma": lzma.compress(SOUP, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress(SOUP),
    "lz4": made.LZ4,
    "lzip": made.LZIP,
    "compress": made.COMPRESS,
}


def read(data: bytes) -> dict[str, bytes]:
    """The members by name, but for the table of contents that xar has beside them."""
    return {m.name: bytes(m.data) for m in members(unpack(Sample(data))) if m.name != "toc.xml"}


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_member_is_found_under_its_name(name: str) -> None:
    data, expected = ARCHIVES[name]
    assert read(data) == expected
    assert found(unpack(Sample(data))) == []


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_unpacked(name: str) -> None:
    items = unpack(Sample(STREAMS[name]))
    assert [(m.trail, m.data) for m in members(items)] == [(("content",), SOUP)]
    assert found(items) == []


@pytest.mark.parametrize("name", sorted({*ARCHIVES, *STREAMS} - {"rpm", "compress"}))
def test_what_is_cut_short_is_read_as_far_as_it_goes_and_said_to_be_corrupt(name: str) -> None:
    data = ARCHIVES[name][0] if name in ARCHIVES else STREAMS[name]
    is_stored = name in ARCHIVES and data.count(SOUP[:100]) > 0
    items = unpack(Sample(data[: data.rindex(SOUP) + 400] if is_stored else data[: len(data) * 3 // 4]))
    assert {kind for kind, _ in found(items)} == {FindingKind.CORRUPT}
    if is_stored:
        assert bytes(members(items)[-1].data).startswith(SOUP[:40])


def test_a_cut_rpm_is_corrupt() -> None:
    assert found(unpack(Sample(written.rpm(b"")[:120]))) == [(FindingKind.CORRUPT, "corrupt:rpm")]


@pytest.mark.parametrize("name", [*ARCHIVES, *STREAMS])
def test_random_damage_never_raises(name: str) -> None:
    data = ARCHIVES[name][0] if name in ARCHIVES else STREAMS[name]
    data = data[:60_000]
    random = Random(name)
    for _ in range(150):
        at = random.randrange(len(data))
        damaged = data[:at] + random.randbytes(random.randrange(1, 4)) + data[at + random.randrange(3) :]
        unpack(Sample(damaged))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("7z", made.SEVEN_ZIP_ENCRYPTED, ["encrypted:7z"]),
        ("7z, its list too", made.SEVEN_ZIP_ENCRYPTED_LIST, ["encrypted:7z"]),
        ("rar4", written.rar4(TWO, file_flags=written.RAR4_ENCRYPTED), ["encrypted:rar"] * 2),
        ("rar5", written.rar5(TWO, file_extra=written.RAR5_ENCRYPTED), ["encrypted:rar"] * 2),
        ("rar4, its list too", written.RAR4_MARK + bytes.fromhex("ce997380000d00000000000000") + bytes(64), None),
        ("rar5, its list too", written.RAR5_MARK + written.rar5_block(bytes([4, 0, 0, 0, 15]) + bytes(16)), None),
    ],
)
def test_what_is_encrypted_is_said_to_be(name: str, data: bytes, expected: list[str] | None) -> None:
    items = unpack(Sample(data))
    assert [m.data for m in members(items)] == []
    assert found(items) == [(FindingKind.ENCRYPTED, each) for each in expected or ["encrypted:rar"]]


def test_a_method_that_is_not_there_is_unsupported() -> None:
    items = unpack(Sample(made.SEVEN_ZIP_BZIP2))
    if "bz2lib" in binding.version():
        assert [m.data for m in members(items)] == [SOUP]
    else:
        assert set(found(items)) == {(FindingKind.UNSUPPORTED, "unsupported:7z-method")}


def test_a_folder_in_a_rar_is_no_damage() -> None:
    items = unpack(Sample(written.rar5({"folder/soup.txt": SOUP, "folder/": b""})))
    assert [m.data for m in members(items)] == [SOUP]
    assert found(items) == []


@pytest.mark.parametrize("mode", [0o120777, 0o040755])
def test_data_behind_a_folder_or_link_in_a_rar_is_unsupported(mode: int) -> None:
    unsupported = [(FindingKind.UNSUPPORTED, "unsupported:rar-folder-or-link-data")]
    assert found(unpack(Sample(written.rar4({"a": b"MZ\x90\x00" + bytes(5000)}, mode=mode)))) == unsupported
    assert found(unpack(Sample(written.rar4({"a": b""}, mode=0o040755)))) == []


def test_the_target_of_a_link_in_a_rar_at_the_limit_and_past_it() -> None:
    start = len(written.rar4({"a": b""}, mode=0o120777)) - 7
    for size_bytes, expected in ((4096 - start, []), (4097 - start, ["unsupported:rar-folder-or-link-data"])):
        items = unpack(Sample(written.rar4({"a": b"t" * size_bytes}, mode=0o120777)))
        assert [name for _, name in found(items)] == expected


def test_a_solid_rar_is_unsupported() -> None:
    items = unpack(Sample(written.rar4(TWO, file_flags=written.RAR4_SOLID)))
    assert set(found(items)) == {(FindingKind.UNSUPPORTED, "unsupported:rar-method")}


def test_of_a_multi_volume_archive_what_is_there_is_read_and_the_rest_is_missing() -> None:
    first = written.rar4(ONE, written.RAR4_GOES_ON, written.RAR4_VOLUME)
    items = unpack(Sample(first))
    assert [m.data for m in members(items)] == [SOUP]
    assert found(items) == [(FindingKind.UNSUPPORTED, "unsupported:rar-volume")]
    for later in (written.rar4(ONE, 1, written.RAR4_VOLUME), written.rar5(ONE, archive_flags=b"\x01")):
        assert (FindingKind.UNSUPPORTED, "unsupported:rar-volume") in found(unpack(Sample(later)))


def test_tar_and_iso_are_seen_behind_other_marks() -> None:
    """Both bear their own mark late; what stands first is a name, or nothing at all."""
    disguised = tar_of({"GIF89a.txt": SOUP})
    assert read(disguised) == {"GIF89a.txt": SOUP}
    image = b"%PDF-1.4\n" + made.ISO9660[9:]
    assert read(image) == {"soup.txt": SOUP, "more.txt": SOUP}


def test_an_ar_archive_of_texts_is_no_text() -> None:
    assert read(written.ar({"a": SOUP})) == {"a": SOUP}


@pytest.mark.parametrize(("length", "is_too_long"), [(16, False), (17, True)])
def test_a_name_at_the_limit_and_past_it(length: int, is_too_long: bool) -> None:
    name = "n" * length
    for data in (tar_of({name: SOUP}), written.xar({name: SOUP})):
        items = unpack(Sample(data), ArchiveOptions(max_name_bytes=16))
        assert members(items)[-1].data == SOUP
        assert found(items) == [(FindingKind.LIMIT, "archive.max_name_bytes")] * is_too_long


def test_a_name_is_for_people_alone() -> None:
    name = "../../etc/\x1bcron\n.d"
    [member] = members(unpack(Sample(tar_of({name: SOUP}))))
    assert member.name == "../../etc/\ufffdcron\ufffd.d"


PROGRAM = b"MZ" + bytes(range(256)) * 8


@pytest.mark.parametrize("archive", [made.SEVEN_ZIP, made.SEVEN_ZIP_ENCRYPTED, written.rar5(ONE), written.rar4(ONE)])
def test_an_archive_behind_a_program_is_opened_as_what_it_is(archive: bytes) -> None:
    (member,) = members(unpack(Sample(PROGRAM + archive)))
    assert (member.data, member.name) == (archive, "appended-archive")
    assert IDENTIFIER.identify(member).family == "archive"


def test_a_program_that_knows_marks_of_archives_holds_none() -> None:
    marks = b"7z\xbc\xaf\x27\x1c Rar!\x1a\x07\x00 Rar!\x1a\x07\x01\x00 "
    assert unpack(Sample(PROGRAM + marks + PROGRAM + marks)) == []
    assert unpack(Sample(b"no program" + marks)) == []


BAIT = made.SEVEN_ZIP[:8] + struct.pack("<I20x", zlib.crc32(bytes(20)))
"""A header of 7z that meets its checksum, of an archive of nothing."""


def test_archives_behind_a_program_at_the_limit_and_past_it() -> None:
    for count, expected in ((MAX_ARCHIVES - 1, []), (MAX_ARCHIVES, ["archive.max_marks"])):
        items = unpack(Sample(PROGRAM + BAIT * count + made.SEVEN_ZIP))
        assert [name for _, name in found(items)] == expected
        assert (made.SEVEN_ZIP in [m.data for m in members(items)]) is not bool(expected)


def test_marks_in_a_program_at_the_limit_and_past_it() -> None:
    mark = made.SEVEN_ZIP[:6]
    (member,) = members(unpack(Sample(PROGRAM + mark * (MAX_MARKS - 1) + made.SEVEN_ZIP)))
    assert member.data == made.SEVEN_ZIP
    items = unpack(Sample(PROGRAM + mark * MAX_MARKS + made.SEVEN_ZIP))
    assert found(items) == [(FindingKind.LIMIT, "archive.max_marks")]


def test_folders_and_links_are_no_members() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert unpack(Sample(out.getvalue())) == []


def test_a_second_stream_behind_padding_is_a_member() -> None:
    items = unpack(Sample(lzma.compress(b"first") + bytes(8) + lzma.compress(SOUP)))
    assert [(m.name, bytes(m.data)[:6]) for m in members(items)] == [
        ("content", b"first"),
        ("trailing-data", b"\xfd7zXZ\x00"),
    ]
    assert [m.data for m in members(unpack(Sample(lzma.compress(b"a") + lzma.compress(b"b"))))] == [b"ab"]
    assert [m.data for m in members(unpack(Sample(bz2.compress(b"a") + bz2.compress(b"b"))))] == [b"ab"]


def test_a_dictionary_past_the_limit() -> None:
    large = lzma.compress(SOUP, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}])
    assert found(unpack(Sample(large))) == [(FindingKind.LIMIT, "archive.max_dictionary_bytes")]


@pytest.mark.parametrize(("window_log", "expected"), [(26, []), (27, ["archive.max_window_bytes"])])
def test_a_zstd_window_of_a_file_at_the_limit_and_past_it(window_log: int, expected: list[str]) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    items = unpack(Sample(packer.compress(SOUP) + packer.flush()))
    assert [name for _, name in found(items)] == expected


def test_a_zstd_dictionary_is_unsupported_rather_than_damage() -> None:
    dictionary = zstandard.ZstdCompressionDict(b"\x37\xa4\x30\xec" + b"\x01\x00\x00\x00" + SOUP, 1)
    packed = zstandard.ZstdCompressor(dict_data=dictionary).compress(SOUP)
    frame = packed[:4] + bytes([packed[4] | 1]) + b"\x07" + packed[5:]
    assert found(unpack(Sample(frame))) == [(FindingKind.UNSUPPORTED, "unsupported:zstd-dictionary")]
    assert (FindingKind.UNSUPPORTED, "unsupported:coding-dictionary") in found(unpack(Sample(frame, coding="zstd")))


def test_the_contents_of_a_xar() -> None:
    assert read(written.xar(ONE, folder="sub")) == {"sub/soup.txt": SOUP}
    assert read(written.xar({"a": zlib.compress(SOUP)}, "application/x-gzip")) == {"a": SOUP}
    items = unpack(Sample(written.xar(ONE, "application/x-new")))
    assert found(items) == [(FindingKind.UNSUPPORTED, "unsupported:xar-method")]
    assert members(items)[-1].data == SOUP
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]><xar><toc><file><name>&a;</name></file></toc></xar>'
    assert (FindingKind.CORRUPT, "corrupt:xar") in found(unpack(Sample(written.xar_of(bomb))))
    deep = b"<file>" * 65 + b"</file>" * 65
    assert (FindingKind.CORRUPT, "corrupt:xar") in found(unpack(Sample(written.xar_of(deep))))


@pytest.mark.parametrize(("over", "expected"), [(0, []), (1, ["archive.max_toc_bytes"])])
def test_the_contents_of_a_xar_at_the_limit_and_past_it(over: int, expected: list[str]) -> None:
    start, end = b"<xar>", b"</xar>"
    filling = xar_files.MAX_TOC_BYTES - len(start + end) + over
    items = unpack(
        Sample(
            written.xar_of(start + b" " * filling + end),
        ),
        ArchiveOptions(max_ratio=100_000),
    )
    assert [name for kind, name in found(items) if kind is FindingKind.LIMIT] == expected
