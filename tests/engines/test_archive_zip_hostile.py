"""ZIPs that say different things to different readers: every member that any reader would see is yielded."""

from __future__ import annotations

import io
import lzma
import struct
import time
import zipfile
import zlib
from random import Random

import pytest
import zstandard

from engines.archive import ArchiveOptions, zip_directory, zip_files, zip_methods
from engines.archive.zip_directory import MAX_END_RECORDS, MAX_OTHER_END_RECORDS
from engines.archive.zip_files import END_RECORDS
from icapd.scan.model import Buffer, Finding, FindingKind, Sample
from tests.engines.archive_probe import TEXT, found, members, unpack
from tests.engines.samples import GIF, zip_of
from tests.engines.zip_writing import (
    DEFLATED,
    ENCRYPTED,
    STORED,
    STREAMED,
    Header,
    closed,
    deflated,
    end_record,
    header_of,
)
from tests.fuzz.unpacking import mutated

HIDDEN = b"what a scanner must see"
PACKED = deflated(HIDDEN)
OVERLAP = (FindingKind.LIMIT, "archive.overlap")
DISAGREE = (FindingKind.CORRUPT, "corrupt:zip-headers-disagree")
DIRECTORY = (FindingKind.CORRUPT, "corrupt:zip-directory")


def contents(items: list[Sample | Finding]) -> list[bytes]:
    return [bytes(member.data) for member in members(items)]


def stored(name: bytes, data: bytes) -> Header:
    return header_of(name, data, data, STORED)


class TestOverlap:
    def test_repeats_are_told_and_what_follows_is_seen(self) -> None:
        shared, last = stored(b"shared", TEXT), stored(b"last", HIDDEN)
        local = shared.local() + TEXT
        archive = closed(
            local + last.local() + HIDDEN, *[shared.entry(0) for _ in range(200)], last.entry(len(local))
        )
        items = unpack(Sample(archive))
        assert contents(items) == [TEXT, HIDDEN]
        assert found(items) == [OVERLAP] * 199

    def test_members_that_lie_in_each_other_are_read_up_to_the_size_of_the_file(self) -> None:
        inner = stored(b"inner", HIDDEN)
        data = inner.local() + HIDDEN + TEXT * 20
        outer = stored(b"outer", data)
        at = len(outer.local())
        local = outer.local() + data
        items = unpack(Sample(closed(local, outer.entry(0), inner.entry(at))))
        assert contents(items) == [data, HIDDEN]
        assert found(items) == [OVERLAP]

    def test_shared_bytes_past_the_size_of_the_file_are_not_read_again(self) -> None:
        data = b"".join(stored(b"n%02d" % number, b"").local() for number in range(40)) + bytes(60_000)
        outer = stored(b"outer", data)
        inner_bytes = len(stored(b"n00", b"").local())
        entries = [
            Header(b"n%02d" % number, 50_000, 50_000, 0, STORED).entry(len(outer.local()) + number * inner_bytes)
            for number in range(10)
        ]
        last = stored(b"last", HIDDEN)
        local = outer.local() + data
        archive = closed(local + last.local() + HIDDEN, outer.entry(0), *entries, last.entry(len(local)))
        items = unpack(Sample(archive))
        assert len(members(items)) <= 4
        assert contents(items)[-1] == HIDDEN
        assert found(items).count(OVERLAP) == 10

    def test_members_side_by_side_do_not_overlap(self) -> None:
        empty, text = stored(b"empty", b""), stored(b"text", TEXT)
        items = unpack(
            Sample(closed(empty.local() + text.local() + TEXT, text.entry(len(empty.local())), empty.entry(0)))
        )
        assert (contents(items), found(items)) == ([TEXT], [])


class TestHeadersThatDisagree:
    def test_a_folder_of_the_directory_is_a_file_from_the_front(self) -> None:
        local = header_of(b"run.com", HIDDEN, PACKED)
        items = unpack(Sample(closed(local.local() + PACKED, header_of(b"a/", b"", b"").entry(0))))
        assert (contents(items), found(items)) == ([HIDDEN], [DISAGREE])

    def test_a_folder_whose_data_has_no_size_in_front(self) -> None:
        local = Header(b"a/", 0, 0, 0, DEFLATED, STREAMED)
        items = unpack(Sample(closed(local.local() + PACKED, header_of(b"a/", b"", b"").entry(0))))
        assert contents(items) == [HIDDEN]

    def test_a_folder_with_an_empty_descriptor_holds_nothing(self) -> None:
        local = Header(b"a/", 0, 0, 0, DEFLATED, STREAMED)
        for descriptor in (b"PK\x07\x08" + bytes(12), bytes(12), b""):
            items = unpack(Sample(closed(local.local() + descriptor, local.entry(0))))
            assert items == []

    def test_a_larger_size_in_the_local_header(self) -> None:
        whole = TEXT + HIDDEN
        entry = Header(b"a.txt", 5, 5, header_of(b"", TEXT[:5], b"").crc, STORED).entry(0)
        items = unpack(Sample(closed(stored(b"a.txt", whole).local() + whole, entry)))
        assert (contents(items), found(items)) == ([TEXT[:5], whole], [DISAGREE])

    def test_another_name_is_told_and_the_data_is_read_once(self) -> None:
        items = unpack(Sample(closed(stored(b"a.exe", TEXT).local() + TEXT, stored(b"a.txt", TEXT).entry(0))))
        assert (contents(items), found(items)) == ([TEXT], [DISAGREE])

    def test_sizes_that_follow_the_data_are_no_difference(self) -> None:
        local = Header(b"a.txt", 0, 0, 0, DEFLATED, STREAMED)
        items = unpack(Sample(closed(local.local() + PACKED, header_of(b"a.txt", HIDDEN, PACKED).entry(0))))
        assert (contents(items), found(items)) == ([HIDDEN], [])


class TestDirectory:
    def test_a_second_directory_between_the_first_and_its_end_hides_nothing(self) -> None:
        shown, hidden = stored(b"ok.txt", TEXT), header_of(b"run.com", HIDDEN, PACKED)
        local = shown.local() + TEXT
        second = len(local) + len(shown.entry(0))
        second_end = second + len(hidden.local()) + len(PACKED)
        shift = len(local) - second_end
        body = local + shown.entry(-shift) + hidden.local() + PACKED + hidden.entry(second)
        items = unpack(Sample(body + end_record(1, len(body) - len(local), second_end)))
        assert contents(items) == [TEXT, HIDDEN]
        assert found(items) == [DIRECTORY]

    def test_members_behind_the_end_record_are_seen(self) -> None:
        hidden = header_of(b"run.com", HIDDEN, PACKED)
        items = unpack(Sample(zip_of({"a.txt": TEXT}) + hidden.local() + PACKED))
        assert (contents(items), found(items)) == ([TEXT, HIDDEN], [])

    def test_an_entry_that_reaches_past_the_directory_is_told(self) -> None:
        text = stored(b"a.txt", TEXT)
        entry = bytearray(text.entry(0))
        entry[32] = 1  # a comment of one byte, which is the end record's first
        items = unpack(Sample(closed(text.local() + TEXT, bytes(entry))))
        assert (contents(items), found(items)) == ([TEXT], [DIRECTORY])

    def test_end_records_at_the_limit_and_past_it(self) -> None:
        archive = GIF + zip_of({"a.txt": TEXT})
        false_end = end_record(1, 46, 0)
        items = unpack(Sample(archive + false_end * (MAX_END_RECORDS - 1)))
        assert (contents(items), found(items)) == ([TEXT], [])
        items = unpack(Sample(archive + false_end * MAX_END_RECORDS))
        assert (contents(items), found(items)) == ([TEXT], [(FindingKind.LIMIT, "archive.max_end_records")])

    def test_thousands_of_members_full_of_end_records_take_little_time(self) -> None:
        marks = b"PK\x05\x06" * 16_000
        started = time.process_time()
        for _ in range(6000):
            assert zip_directory.find_directory(marks).gave_up
        assert time.process_time() - started < 0.5


class TestTwoDirectories:
    """What one of them names lies inside a member of the other, where nobody looks for local headers."""

    hidden = header_of(b"run.com", HIDDEN, PACKED)
    inside = b"soup " + hidden.local() + PACKED + b" soup"
    cover = stored(b"a.bin", inside)
    start = cover.local() + inside
    at = len(cover.local()) + 5

    def test_by_the_size_and_by_the_offset_of_one_end_record(self) -> None:
        second = self.hidden.entry(self.at)
        shift = len(second)
        body = self.start + second + self.cover.entry(-shift & 0xFFFFFFFF)
        archive = body + end_record(1, len(self.cover.entry(0)), len(self.start))
        assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == ["a.bin"]
        assert HIDDEN in contents(unpack(Sample(archive)))

    def test_by_two_end_records(self) -> None:
        second = self.hidden.entry(self.at)
        earlier = self.start + second + end_record(1, len(second), len(self.start))
        first = self.cover.entry(0)
        archive = earlier + first + end_record(1, len(first), len(earlier))
        assert contents(unpack(Sample(archive))) == [self.inside, HIDDEN]

    def test_by_a_record_of_zip64_that_only_its_locator_finds(self) -> None:
        second = self.hidden.entry(self.at)
        wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(second), len(self.start))
        before = self.start + second + wide + b"a record in between"
        first = self.cover.entry(0)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(self.start + second), 1)
        body = before + first + locator
        archive = body + end_record(1, len(first + locator), len(before))
        assert HIDDEN in contents(unpack(Sample(archive)))

    @pytest.mark.parametrize("is_first", [True, False])
    def test_one_directory_by_two_shifts(self, is_first: bool) -> None:
        """The record of ZIP64 and the ordinary one differ in where the members lie, not where the directory does."""
        front = stored(b"a", TEXT).local() + TEXT
        body = front + self.start
        entry = self.hidden.entry(len(front) + self.at if is_first else self.at)
        start = len(body)
        far, near = (start, start + len(front)) if is_first else (start, start - len(front))
        wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), near)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + len(entry), 1)
        archive = body + entry + wide + locator + end_record(1, len(entry), far)
        (first, second) = zip_directory.find_directory(archive).directories
        assert (first.start, second.start) == (start, start)
        assert HIDDEN in contents(unpack(Sample(archive)))

    def test_an_older_directory_of_the_same_members_is_no_damage(self) -> None:
        first, second = stored(b"a", TEXT), stored(b"b", HIDDEN)
        old = closed(first.local() + TEXT, first.entry(0))
        body = old + second.local() + HIDDEN
        directory = first.entry(0) + second.entry(len(old))
        items = unpack(Sample(body + directory + end_record(2, len(directory), len(body))))
        assert (contents(items), found(items)) == ([TEXT, HIDDEN], [])

    def test_end_records_beside_the_one_that_holds_at_the_limit_and_past_it(self) -> None:
        text = stored(b"a.txt", TEXT)
        for count, expected in ((MAX_OTHER_END_RECORDS - 1, []), (MAX_OTHER_END_RECORDS, [END_RECORDS])):
            archive = end_record(1, 46, 0) * count + closed(text.local() + TEXT, text.entry(0))
            items = unpack(Sample(b"x" + archive))
            assert ([name for _, name in found(items)], contents(items)) == (expected, [TEXT])


def test_a_member_behind_a_descriptor_without_its_mark_is_seen() -> None:
    packed, hidden = deflated(TEXT), header_of(b"run.com", HIDDEN, PACKED)
    for mark in (b"PK\x07\x08", b""):
        behind = mark + struct.pack("<3I", zlib.crc32(TEXT), len(packed), len(TEXT)) + hidden.local() + PACKED
        header = header_of(b"a.txt", TEXT, packed + behind)
        items = unpack(Sample(closed(header.local() + packed + behind, header.entry(0))))
        (_, trailing) = members(items)
        assert contents(unpack(trailing)) == [HIDDEN]


@pytest.mark.parametrize(
    ("method", "packed"), [(20, zstandard.compress(TEXT)), (93, zstandard.compress(TEXT)), (95, lzma.compress(TEXT))]
)
def test_zstd_and_xz_in_a_zip(method: int, packed: bytes) -> None:
    header = header_of(b"a.txt", TEXT, packed, method)
    items = unpack(Sample(closed(header.local() + packed, header.entry(0))))
    assert (contents(items), found(items)) == ([TEXT], [])


class TestSmallMembers:
    """Read in one step where all is as the headers say: never with another result than in many."""

    @pytest.mark.parametrize("seed", range(4))
    def test_one_step_gives_what_many_give(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        random = Random(seed)
        text, empty, folder = stored(b"a", TEXT), stored(b"empty", b""), stored(b"folder/", b"")
        packed = header_of(b"b", HIDDEN, PACKED)
        local = text.local() + TEXT + packed.local() + PACKED + empty.local() + folder.local()
        at = len(text.local() + TEXT)
        good = closed(
            local,
            text.entry(0),
            packed.entry(at),
            empty.entry(at + len(packed.local() + PACKED)),
            folder.entry(at + len(packed.local() + PACKED + empty.local())),
        )
        options = [ArchiveOptions(), ArchiveOptions(max_member_bytes=20), ArchiveOptions(max_unpacked_bytes=900)]
        for data in (good, *(mutated(good, random) for _ in range(100))):
            for limits in options:
                monkeypatch.setattr(zip_files, "_SMALL_BYTES", 64 * 1024)
                quickly = unpack(Sample(data), limits)
                monkeypatch.setattr(zip_files, "_SMALL_BYTES", 0)
                assert shown(unpack(Sample(data), limits)) == shown(quickly)

    def test_one_that_is_not_to_be_held_costs_the_others_nothing(self) -> None:
        large, small = stored(b"a", TEXT), stored(b"b", HIDDEN)
        local = large.local() + TEXT
        archive = closed(local + small.local() + HIDDEN, large.entry(0), small.entry(len(local)))
        for held_bytes, expected in ((len(TEXT), []), (len(TEXT) - 1, ["archive.max_held_bytes"])):
            items = unpack(Sample(archive), ArchiveOptions(max_held_bytes=held_bytes))
            assert contents(items) == [TEXT[:held_bytes], HIDDEN]
            assert [name for _, name in found(items)] == expected

    def test_at_most_one_member_is_read_in_vain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = Header(b"a", len(PACKED), len(HIDDEN), 1)
        size = len(broken.local() + PACKED)
        archive = closed((broken.local() + PACKED) * 5, *(broken.entry(size * number) for number in range(5)))
        read, calls = zip_methods.read_quickly, []

        def counted(data: Buffer, entry: zip_directory.Entry) -> bytes | None:
            calls.append(entry.header)
            return read(data, entry)

        monkeypatch.setattr(zip_methods, "read_quickly", counted)
        assert contents(unpack(Sample(archive))) == [HIDDEN] * 5
        assert calls == [0]


def shown(items: list[Sample | Finding]) -> list[object]:
    return [(item.trail, bytes(item.data)) if isinstance(item, Sample) else item for item in items]


class TestEncrypted:
    def test_stored_data_without_a_checksum_is_encrypted_and_seen(self) -> None:
        noise = bytes((number * 197 + 13) & 255 for number in range(500))
        header = Header(b"a.exe", 500, 500, 0, STORED, ENCRYPTED | STREAMED)
        items = unpack(Sample(closed(header.local() + noise, header.entry(0))))
        assert (contents(items), found(items)) == ([noise], [(FindingKind.ENCRYPTED, "encrypted:zip")])

    def test_data_that_meets_its_checksum_is_plain(self) -> None:
        header = header_of(b"a.exe", TEXT, TEXT, STORED, ENCRYPTED | STREAMED)
        items = unpack(Sample(closed(header.local() + TEXT, header.entry(0))))
        assert (contents(items), found(items)) == ([TEXT], [])


def test_bytes_behind_the_end_of_compressed_data_are_a_member() -> None:
    """The headers claim more packed bytes than the compressed data takes."""
    packed = deflated(TEXT)
    for hidden, expected in ((b"MZ hidden", [TEXT, b"MZ hidden"]), (bytes(9), [TEXT])):
        header = header_of(b"a.txt", TEXT, packed + hidden)
        items = unpack(Sample(closed(header.local() + packed + hidden, header.entry(0))))
        assert [member.data for member in members(items)] == expected
        assert found(items) == []


def test_a_volume_of_a_split_archive_gives_what_it_holds() -> None:
    packed = deflated(TEXT)
    header = header_of(b"a.txt", TEXT, packed)
    first = b"PK\x07\x08" + header.local() + packed + header_of(b"b.txt", TEXT, packed).local() + packed[:9]
    items = unpack(Sample(first))
    assert members(items)[0].data == TEXT
    assert {kind for kind, _ in found(items)} == {FindingKind.CORRUPT}


@pytest.mark.parametrize(("length", "expected"), [(16, []), (17, ["archive.max_name_bytes"])])
def test_a_long_name_is_a_limit_and_its_member_is_scanned(length: int, expected: list[str]) -> None:
    items = unpack(Sample(zip_of({"n" * length: TEXT})), ArchiveOptions(max_name_bytes=16))
    assert [name for _, name in found(items)] == expected
    assert members(items)[0].data == TEXT
