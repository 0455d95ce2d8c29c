"""Memory: data that asks for more than is given reaches a limit; running out of memory is no damage of the data."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
import sys
import time

import pytest

from engines.archive import ArchiveOptions, binding, library
from engines.archive.streams import LZMA_DICTIONARY_BYTES
from icapd.scan.model import FindingKind, Sample
from icapd.scan.tree import EngineSet, examine
from tests.engines import archive_writing as written
from tests.engines.archive_probe import IDENTIFIER, TEXT, found, members, unpack, unpacker
from tests.engines.samples import tar_of
from tests.engines.test_bombs import large_dictionary
from tests.engines.zip_writing import STORED, closed, header_of

STARVED = """
import io
import resource
import sys
import time
from random import Random

import brotli
import zstandard

from engines.archive.replayed import Brotli, ZstdFrame

def drain(stream):
    size_bytes = 0
    while block := stream.read(1 << 16):
        size_bytes += len(block)
    return size_bytes

text = Random(7).randbytes(100_000) * 180
parameters = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=False)
packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
opener, body = {
    "br": lambda: (Brotli, brotli.compress(text, quality=1, lgwin=24)),
    "zstd": lambda: (ZstdFrame, packer.compress(text) + packer.flush()),
}[sys.argv[1]]()
del packer
assert drain(opener(io.BytesIO(body))) == len(text)
del text
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 2_000_000, resource.RLIM_INFINITY))
try:
    drain(opener(io.BytesIO(body)))
except MemoryError as error:
    print(type(error.__context__).__module__, "MemoryError")
"""


@pytest.mark.parametrize(("coding", "library"), [("br", "brotli"), ("zstd", "zstandard.backend_c")])
def test_running_out_of_memory_is_no_damage(coding: str, library: str) -> None:
    # Freed blocks go back to the system at once, so that the second decoder cannot live on those of the first.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", STARVED, coding], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{library} MemoryError\n", done.stdout + done.stderr


def test_an_lzma_dictionary_at_the_limit_and_past_it() -> None:
    packer = lzma.compress(TEXT, lzma.FORMAT_ALONE)
    properties, packed = packer[:1], packer[13:]

    def archive(dictionary_bytes: int) -> bytes:
        data = b"\x09\x14\x05\x00" + properties + struct.pack("<I", dictionary_bytes) + packed
        header = header_of(b"a.txt", TEXT, data, method=14)
        after = header_of(b"b.txt", b"after", b"after", STORED)
        first = header.local() + data
        return closed(first + after.local() + b"after", header.entry(0), after.entry(len(first)))

    items = unpack(Sample(archive(LZMA_DICTIONARY_BYTES)))
    assert (found(items), [m.data for m in members(items)]) == ([], [TEXT, b"after"])
    items = unpack(Sample(archive(LZMA_DICTIONARY_BYTES + 1)))
    assert found(items) == [(FindingKind.LIMIT, "archive.max_dictionary_bytes")]
    assert [m.data for m in members(items)] == [b"after"]


@pytest.mark.parametrize(
    ("dictionary_bytes", "expected"),
    [(LZMA_DICTIONARY_BYTES, []), (2 * LZMA_DICTIONARY_BYTES, ["archive.max_dictionary_bytes"])],
)
def test_a_dictionary_of_libarchive_at_the_limit_and_past_it(dictionary_bytes: int, expected: list[str]) -> None:
    items = unpack(Sample(large_dictionary(dictionary_bytes)))
    assert [name for _, name in found(items)] == expected
    assert bool(members(items)) is not bool(expected)


def test_memory_is_measured_only_where_an_archive_may_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each measurement walks over all that is free."""
    measure, calls = binding.allocated_bytes, []

    def counted() -> int:
        calls.append(1)
        return measure()

    monkeypatch.setattr(library, "allocated_bytes", counted)
    content = {str(number): TEXT for number in range(20)}
    for archive, most in ((tar_of(content), 0), (written.lzh(content), 0), (written.rar4(content), 2 * 21)):
        calls.clear()
        assert len(members(unpack(Sample(archive)))) == 20
        assert len(calls) == most


@pytest.mark.parametrize(("short_bytes", "expected"), [(0, []), (1, ["archive.max_held_bytes"])])
def test_members_held_at_one_time_at_the_limit_and_past_it(short_bytes: int, expected: list[str]) -> None:
    """A tar and its member are held; a second such member is not held beside the first."""
    tar = tar_of({"a": TEXT, "b": TEXT})
    archive = unpacker(ArchiveOptions(max_held_bytes=len(tar) + len(TEXT) - short_bytes))
    budget = archive.budget(time.monotonic() + 20)
    examination = examine(Sample(gzip.compress(tar)), EngineSet(IDENTIFIER, (), (archive,)), budget)
    names = [finding.name for report in examination.reports for finding in report.findings]
    assert sorted(set(names)) == expected
    assert budget.held_bytes_left == len(tar) + len(TEXT) - short_bytes


def test_of_a_member_past_the_limit_the_beginning_is_scanned() -> None:
    items = unpack(Sample(gzip.compress(TEXT)), ArchiveOptions(max_held_bytes=10))
    assert [member.data for member in members(items)] == [TEXT[:10]]
    assert found(items) == [(FindingKind.LIMIT, "archive.max_held_bytes")]
