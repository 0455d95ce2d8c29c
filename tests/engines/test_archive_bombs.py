"""Each bomb ends within its limits: a finding that names the limit, little memory, little time."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib

import brotli
import pytest
import zstandard

from engines.archive import ArchiveOptions
from engines.identify.identifier import ContentIdentifier
from icapd.scan.merge import merge
from icapd.scan.model import Sample, ScanReport, Verdict
from icapd.scan.tree import EngineSet, examine
from tests.engines.archive_probe import TEXT, unpacker
from tests.engines.samples import zip_of
from tests.support.pace import is_within

MiB = 1024 * 1024
SECONDS = 2.0
MEMORY_BYTES = 64 * MiB


def scan(sample: Sample, options: ArchiveOptions | None = None) -> ScanReport:
    archive = unpacker(options)
    engines = EngineSet(ContentIdentifier(None), (), (archive,))
    return merge(examine(sample, engines, archive.budget(time.monotonic() + 20)), frozenset({"archive"}))


def names(report: ScanReport) -> set[str]:
    return {finding.name for finding in report.findings}


def flat_bomb() -> bytes:
    return zip_of({"zeros": bytes(48 * MiB)})


def nested_bomb() -> bytes:
    """Sixteen in sixteen, five levels down: over a terabyte of zeros at the bottom."""
    bomb = zip_of({"zeros": bytes(32 * MiB)})
    for _ in range(5):
        bomb = zip_of({f"{n}.zip": bomb for n in range(16)})
    return bomb


def overlapping_bomb() -> bytes:
    """A thousand directory entries for one and the same packed member."""
    archive = zip_of({"zeros": bytes(16 * MiB)})
    start = archive.index(b"PK\x01\x02")
    entry = archive[start : archive.index(b"PK\x05\x06")]
    directory = entry * 1000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), start, 0)
    return archive[:start] + directory + end


def lying_bomb() -> bytes:
    """Says that it unpacks to one byte."""
    archive = bytearray(flat_bomb())
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", archive, archive.index(magic) + offset, 1)
    return bytes(archive)


def many_entries() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.txt", TEXT)
    data = out.getvalue()
    start = data.index(b"PK\x01\x02")
    directory = data[start : data.index(b"PK\x05\x06")] * 20_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    return data[:start] + directory + end


def many_folders() -> bytes:
    """A hundred thousand entries without a byte of data."""
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 2, 0) + b"d/"
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0) + b"d/"
    directory = entry * 100_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), len(local), 0)
    return local + directory + end


BOMBS = {
    "flat": (flat_bomb, {"archive.max_ratio"}),
    "nested": (nested_bomb, {"archive.max_ratio"}),
    "overlapping": (overlapping_bomb, {"archive.max_ratio", "archive.overlap"}),
    "lying": (lying_bomb, {"archive.max_ratio"}),
    "entries": (many_entries, {"archive.overlap"}),
    "folders": (many_folders, {"archive.max_members"}),
    "gzip": (lambda: gzip.compress(bytes(48 * MiB)), {"archive.max_ratio"}),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(bytes(48 * MiB))), {"archive.max_ratio"}),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_unscannable_soon_and_in_little_memory(bomb: str) -> None:
    make, expected = BOMBS[bomb]
    data = make()
    started = time.process_time()
    report = scan(Sample(data))
    assert is_within(time.process_time() - started, SECONDS)
    assert report.verdict is Verdict.UNSCANNABLE
    assert names(report) & expected
    tracemalloc.start()
    scan(Sample(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY_BYTES


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_bomb_in_a_content_coding_is_unscannable(coding: str) -> None:
    zeros = bytes(48 * MiB)
    packed = {
        "gzip": lambda: gzip.compress(zeros),
        "deflate": lambda: zlib.compress(zeros),
        "br": lambda: bytes(brotli.compress(zeros, quality=2)),
        "zstd": lambda: zstandard.compress(zeros),
        "gzip, gzip": lambda: gzip.compress(gzip.compress(zeros)),
    }[coding]()
    started = time.process_time()
    report = scan(Sample(packed, coding=coding))
    assert is_within(time.process_time() - started, SECONDS)
    assert (report.verdict, names(report)) == (Verdict.UNSCANNABLE, {"archive.max_ratio"})


def test_no_ratio_is_too_much_for_the_total() -> None:
    """Stored zeros: the ratio never strikes, the bytes do."""
    bomb = zip_of({f"{n}.bin": bytes(4 * MiB) for n in range(8)}, zipfile.ZIP_STORED)
    assert names(scan(Sample(bomb), ArchiveOptions(max_unpacked_bytes=32 * MiB))) == set()
    assert names(scan(Sample(bomb), ArchiveOptions(max_unpacked_bytes=32 * MiB - 1))) == {
        "archive.max_unpacked_bytes"
    }


def test_nested_archives_up_to_the_depth_are_read_and_past_it_are_not() -> None:
    def nested(levels: int) -> bytes:
        data = TEXT
        for _ in range(levels):
            data = zip_of({"n.zip": data})
        return data

    assert scan(Sample(nested(8))).verdict is Verdict.CLEAN
    report = scan(Sample(nested(9)))
    assert report.verdict is Verdict.UNSCANNABLE
    assert [(f.name, len(f.trail)) for f in report.findings] == [("archive.max_depth", 8)]


def test_an_archive_that_nobody_opens_is_unscannable() -> None:
    report = scan(Sample(zip_of({"a.ace": bytes(7) + b"**ACE**" + bytes(30)})))
    assert report.verdict is Verdict.UNSCANNABLE
    assert [(f.name, f.trail) for f in report.findings] == [("not-opened:ace", ("a.ace",))]


def test_the_time_is_checked_while_a_member_unpacks() -> None:
    archive = unpacker(ArchiveOptions(max_ratio=100_000))
    engines = EngineSet(ContentIdentifier(None), (), (archive,))
    started = time.process_time()
    report = merge(
        examine(Sample(flat_bomb()), engines, archive.budget(time.monotonic() + 0.01)), frozenset({"archive"})
    )
    assert is_within(time.process_time() - started, SECONDS)
    assert report.verdict is Verdict.ERROR
    assert names(report) >= {"timeout:archive"}


def scan_damaged(data: bytes, step: int) -> None:
    """Scans the data with each `step`th byte changed, one at a time.

    Raises: AssertionError where the engine failed.
    """
    for at in range(0, len(data), step):
        for value in (0x00, 0xFF, data[at] ^ 1):
            body = data[:at] + bytes([value]) + data[at + 1 :]
            for coding in ("", "gzip", "br"):
                report = scan(Sample(body, coding=coding))
                assert "failed:archive" not in names(report), body


def test_damage_anywhere_never_raises() -> None:
    """Bytes of a small archive set to other values, as a body and under each coding."""
    for data in (zip_of({"a.txt": TEXT, "b/": b""}), gzip.compress(TEXT)):
        scan_damaged(data, 11)
