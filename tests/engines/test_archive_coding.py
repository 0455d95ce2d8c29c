from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from engines.archive import ArchiveOptions
from icapd.icap.http import HttpHead
from icapd.scan.model import Finding, FindingKind, Sample, Severity
from tests.engines.archive_probe import TEXT, found, members, unpack
from tests.engines.samples import zip_of


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
LONG = random.Random(7).randbytes(700_000)


@pytest.mark.parametrize("body", [b"", TEXT, LONG, bytes(3_000_000)], ids=["empty", "text", "noise", "zeros"])
@pytest.mark.parametrize("coding", PACKERS)
def test_a_coded_body_is_decoded_and_stays_the_body(coding: str, body: bytes) -> None:
    items = unpack(Sample(PACKERS[coding](body), name="page", coding=coding))
    assert [(s.data, s.name, s.trail, s.coding) for s in members(items)] == [(body, "page", (), "")]
    assert found(items) == []


def test_deflate_may_be_raw() -> None:
    assert members(unpack(Sample(raw_deflate(TEXT), coding="deflate")))[0].data == TEXT


def test_stacked_codings_are_undone_last_first() -> None:
    packed = zstandard.compress(brotli.compress(gzip.compress(TEXT)))
    items = unpack(Sample(packed, coding="gzip, br, identity ,zstd"))
    assert [(s.data, s.trail) for s in members(items)] == [(TEXT, ())]


def test_more_than_four_codings_are_refused() -> None:
    packed = TEXT
    for _ in range(4):
        packed = gzip.compress(packed)
    assert members(unpack(Sample(packed, coding="gzip,gzip,gzip,gzip")))[0].data == TEXT
    items = unpack(Sample(brotli.compress(packed), coding="gzip,gzip,gzip,gzip,br"))
    assert (FindingKind.LIMIT, "archive.max_depth") in found(items)
    assert members(items) == []


@pytest.mark.parametrize("coding", ["", "identity", "none", "utf-8", " , "])
def test_no_coding_is_nothing_to_open(coding: str) -> None:
    assert unpack(Sample(TEXT, coding=coding)) == []


def test_an_unknown_coding_is_unsupported() -> None:
    (item,) = unpack(Sample(TEXT, coding="x-Ro\x00t13"))
    assert item == Finding(FindingKind.UNSUPPORTED, "unsupported:coding-x-ro_t13", "archive", Severity.MEDIUM)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_cut_body_gives_its_beginning(coding: str) -> None:
    packed = PACKERS[coding](LONG)
    items = unpack(Sample(packed[: len(packed) // 2], coding=coding))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:coding")]
    (part,) = members(items)
    assert len(part.data) > len(LONG) // 4
    assert LONG.startswith(bytes(part.data))
    assert part.trail == (coding,)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_wrong_checksum_still_gives_the_content(coding: str) -> None:
    packer = zstandard.ZstdCompressor(write_checksum=True)
    packed = bytearray(packer.compress(TEXT) if coding == "zstd" else PACKERS[coding](TEXT))
    packed[-1 if coding != "gzip" else -5] ^= 1
    items = unpack(Sample(bytes(packed), coding=coding))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:coding")]
    assert [s.data for s in members(items)] == [TEXT]


def test_damage_in_the_middle_keeps_what_stands_before_it() -> None:
    packed = bytearray(raw_deflate(TEXT * 50)[:40]) + b"\xff" * 60
    items = unpack(Sample(bytes(packed), coding="deflate"))
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:coding")]
    assert (TEXT * 50).startswith(bytes(members(items)[0].data)[:10])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_bytes_after_the_end_are_a_member_and_the_content_is_still_seen(coding: str) -> None:
    items = unpack(Sample(PACKERS[coding](TEXT) + b"#hidden", coding=coding))
    assert found(items) == []
    assert [(s.data, s.trail) for s in members(items)] == [(TEXT, (coding,)), (b"#hidden", ("trailing-data",))]


def test_bytes_after_the_end_of_an_inner_coding_are_seen() -> None:
    packed = gzip.compress(brotli.compress(TEXT) + b"#inner") + b"#outer"
    items = unpack(Sample(packed, coding="br, gzip"))
    assert found(items) == []
    assert [s.data for s in members(items)] == [TEXT, b"#inner", b"#outer"]


def test_bytes_after_the_end_are_held_to_the_limits() -> None:
    packed = gzip.compress(TEXT) + b"x" * 2000
    assert found(unpack(Sample(packed, coding="gzip"), ArchiveOptions(max_member_bytes=2000))) == []
    items = unpack(Sample(packed, coding="gzip"), ArchiveOptions(max_member_bytes=1999))
    assert found(items) == [(FindingKind.LIMIT, "archive.max_member_bytes")]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_zeros_after_the_end_are_padding(coding: str) -> None:
    items = unpack(Sample(PACKERS[coding](TEXT) + bytes(900), coding=coding))
    assert [(s.data, s.trail) for s in members(items)] == [(TEXT, ())]


def test_bytes_that_are_not_coded_at_all_are_corrupt() -> None:
    for coding in ("gzip", "br", "zstd", "deflate"):
        assert (FindingKind.CORRUPT, "corrupt:coding") in found(unpack(Sample(b"<html>plain</html>", coding=coding)))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_concatenated_streams_are_one_body(coding: str) -> None:
    items = unpack(Sample(PACKERS[coding](b"one ") + PACKERS[coding](b"two"), coding=coding))
    assert [s.data for s in members(items)] == [b"one two"]


def test_empty_gzip_members_count() -> None:
    options = ArchiveOptions(max_members=3000)
    packed = gzip.compress(b"") * 2999 + gzip.compress(b"x")
    assert members(unpack(Sample(packed, coding="gzip"), options))[0].data == b"x"
    items = unpack(Sample(gzip.compress(b"") + packed, coding="gzip"), options)
    assert (FindingKind.LIMIT, "archive.max_members") in found(items)


def test_a_zstd_window_past_eight_megabytes_is_refused() -> None:
    def packed(window_log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return packer.compress(TEXT) + packer.flush()

    assert members(unpack(Sample(packed(23), coding="zstd")))[0].data == TEXT
    assert found(unpack(Sample(packed(24), coding="zstd"))) == [(FindingKind.LIMIT, "archive.max_window_bytes")]


def test_a_zip_under_a_false_coding_is_opened_as_a_zip() -> None:
    items = unpack(Sample(zip_of({"a.txt": TEXT}), coding="br"))
    assert TEXT in [s.data for s in members(items)]
    assert (FindingKind.CORRUPT, "corrupt:coding") in found(items)


@pytest.mark.parametrize(
    "line", [b"Content-Encoding: " + b"," * 2048 + b"br", b"Content-Encoding : br", b"X: y\rContent-Encoding: br"]
)
def test_a_coding_that_cannot_be_read_leaves_the_body_unsupported(line: bytes) -> None:
    """Decoded by nobody here, but perhaps by the receiver."""
    head = HttpHead(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n")
    (item,) = unpack(Sample(brotli.compress(TEXT), coding=head.content_coding))
    assert item == Finding(FindingKind.UNSUPPORTED, "unsupported:coding-malformed", "archive", Severity.MEDIUM)
    commas = HttpHead(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, , br\r\n\r\n")
    packed = brotli.compress(gzip.compress(TEXT))
    assert [s.data for s in members(unpack(Sample(packed, coding=commas.content_coding)))] == [TEXT]


@pytest.mark.parametrize("declared", ["gzip, br", "br, zstd, br"])
def test_a_coding_that_was_named_and_never_applied_hides_nothing(declared: str) -> None:
    """Only the last of them was applied: the chain breaks, and what some receivers show is still looked at."""
    items = unpack(Sample(brotli.compress(TEXT), coding=declared))
    assert TEXT in [sample.data for sample in members(items)]
    assert FindingKind.CORRUPT in [kind for kind, _ in found(items)]
