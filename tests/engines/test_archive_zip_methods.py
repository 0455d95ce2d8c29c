"""The methods of ZIP that Python's library does not write: PPMd, and Deflate64 as Windows has it."""

from __future__ import annotations

import struct
import time

import inflate64
import pytest

from engines.archive import ArchiveOptions
from icapd.scan.model import FindingKind, Sample
from tests.engines import archive_fixtures as made
from tests.engines.archive_fixtures import SOUP
from tests.engines.archive_probe import found, members, unpack
from tests.engines.samples import zip_of
from tests.engines.test_archive_zip import patch
from tests.support.pace import is_within

FIXTURES = {"PPMd": made.ZIP_PPMD, "Deflate64": made.ZIP_DEFLATE64}
MIB = 1024 * 1024


def deflate64(data: bytes) -> bytes:
    deflater = inflate64.Deflater()
    packed: bytes = deflater.deflate(data) + deflater.flush()
    return packed


def zip_packed(packed: bytes, method: int) -> bytes:
    """A ZIP of one member with these packed bytes, which says nothing of what they hold."""
    data = patch(zip_of({"a": packed}, 0), b"PK\x03\x04", 8, "<H", method)
    data = patch(data, b"PK\x01\x02", 10, "<H", method)
    for magic, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        data = patch(data, magic, at, "<I", 0)
    return data


@pytest.mark.parametrize("method", FIXTURES)
def test_what_7_zip_wrote_is_read(method: str) -> None:
    items = unpack(Sample(FIXTURES[method]))
    assert [bytes(member.data) for member in members(items)] == [SOUP]
    assert found(items) == []


@pytest.mark.parametrize("method", FIXTURES)
def test_a_cut_member_is_corrupt(method: str) -> None:
    """Cut in the middle of its data; the local header is what is left."""
    data = FIXTURES[method]
    end = 30 + struct.unpack_from("<H", data, 26)[0] + struct.unpack_from("<I", data, 18)[0]
    items = unpack(Sample(data[: end - 12]))
    assert (FindingKind.CORRUPT, "corrupt:zip") in found(items)


@pytest.mark.parametrize("method", FIXTURES)
def test_damage_anywhere_never_raises(method: str) -> None:
    data = FIXTURES[method]
    for at in range(len(data)):
        unpack(Sample(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]))


def test_all_of_a_large_member_is_there() -> None:
    content = b"".join(b"%d bowls of soup, %d of bread\n" % (n, n * n) for n in range(100_000))
    items = unpack(Sample(zip_packed(deflate64(content), 9)))
    assert [bytes(member.data) for member in members(items)][:1] == [content]


@pytest.mark.parametrize("behind_bytes", [1, 100, 5000])
def test_what_lies_behind_the_end_of_a_stream_is_seen(behind_bytes: int) -> None:
    hidden = b"!" * behind_bytes
    items = unpack(Sample(zip_packed(deflate64(SOUP) + hidden, 9)))
    first, second = members(items)
    assert bytes(first.data) == SOUP
    assert bytes(second.data).endswith(hidden)
    assert len(second.data) <= behind_bytes + 64


@pytest.mark.parametrize("method", [9, 98])
def test_noise_is_corrupt(method: int) -> None:
    items = unpack(Sample(zip_packed(bytes(range(7, 256)) * 4, method)))
    assert (FindingKind.CORRUPT, "corrupt:zip") in found(items)


def test_a_bomb_of_deflate64_is_stopped_soon() -> None:
    started = time.process_time()
    items = unpack(Sample(zip_packed(deflate64(bytes(200 * MIB)), 9)), ArchiveOptions(max_member_bytes=64 * MIB))
    assert is_within(time.process_time() - started, 3)
    assert [name for _, name in found(items)] == ["archive.max_ratio"]
    assert max(len(member.data) for member in members(items)) <= 64 * MIB


@pytest.mark.parametrize(("memory_mib", "expected"), [(32, []), (256, ["archive.max_dictionary_bytes"])])
def test_the_memory_that_ppmd_names_is_bounded(memory_mib: int, expected: list[str]) -> None:
    """The data's first two bytes say the order, the memory and what is done when it is full."""
    data = bytearray(made.ZIP_PPMD_OF_ZEROS)
    start = 30 + sum(struct.unpack_from("<HH", data, 26))
    (word,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<H", data, start, word & 0xF00F | (memory_mib - 1) << 4)
    assert [name for _, name in found(unpack(Sample(bytes(data))))] == expected
