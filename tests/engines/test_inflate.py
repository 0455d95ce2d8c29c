"""Deflate: zlib-ng must say of every stream, good, cut or damaged, what zlib says, to the byte."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from random import Random

import pytest

from engines.archive.streams import Broken, Inflate
from engines.inflate import GZIP, RAW, ZLIB, Damaged, Decompressor, InflateError, Inflater, crc32, decompressor
from tests.engines.ordinary_content import ORDINARY

WINDOWS = (ZLIB, GZIP, RAW)
TEXT = b"".join(ORDINARY.values())[:60_000]
STARVED = """
import io
import resource
import zlib
from random import Random

from engines.archive.streams import Inflate
from engines.inflate import ZLIB

packed = zlib.compress(Random(7).randbytes(1 << 20))
kept = []
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 8_000_000, resource.RLIM_INFINITY))
try:
    while True:
        stream = Inflate(io.BytesIO(packed), ZLIB)
        kept.append((stream, stream.read(1), stream.read(1 << 15)))
except Exception as error:
    count, name = len(kept), type(error).__name__
    kept = stream = None
    print(name, count > 10)
"""


def packed_by(window: int, plain: bytes, random: Random) -> bytes:
    packer = zlib.compressobj(random.choice((0, 1, 6, 9)), wbits=window, strategy=random.choice((0, 0, 1, 2, 3, 4)))
    half = len(plain) // 2
    start = packer.compress(plain[:half]) + packer.flush(random.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
    return start + packer.compress(plain[half:]) + packer.flush()


def damaged(packed: bytes, random: Random) -> bytes:
    data = bytearray(packed)
    at = random.randrange(len(data))
    match random.randrange(7):
        case 0:
            data[at] ^= 1 << random.randrange(8)
        case 1:
            data[at] = random.randrange(256)
        case 2:
            del data[at:]
        case 3:
            del data[at : at + random.randrange(1, 20)]
        case 4:
            data[at:at] = random.randbytes(random.randrange(1, 20))
        case 5:
            data[-1 - random.randrange(8)] ^= 1 << random.randrange(8)  # the checksum, where there is one
        case _:
            data += random.randbytes(random.randrange(1, 300))
    return bytes(data)


def streams(seed: int, count: int) -> Iterator[tuple[int, bytes]]:
    random = Random(seed)
    for _ in range(count):
        window = random.choice(WINDOWS)
        at = random.randrange(len(TEXT))
        plain = TEXT[at : at + random.choice((1, 300, 5_000))] * random.choice((1, 1, 30))
        yield window, damaged(packed_by(window, plain, random), random)


def told(library: str, window: int, packed: bytes, step_bytes: int, max_bytes: int) -> tuple[object, ...]:
    """All that a decompressor says of a stream fed by steps: output, error, end, what is unused and what waits."""
    unpacker: Decompressor = decompressor(window) if library == "zlib-ng" else zlib.decompressobj(window)
    plain = bytearray()
    at = 0
    error = ""
    try:
        while at < len(packed) and not unpacker.eof:
            pending = packed[at : at + step_bytes]
            at += step_bytes
            while pending and not unpacker.eof:
                plain += unpacker.decompress(pending, max_bytes)
                pending = unpacker.unconsumed_tail
    except (zlib.error, InflateError) as caught:
        error = re.sub(" while .*?: ", " ", str(caught))
    return bytes(plain), error, unpacker.eof, unpacker.unused_data, unpacker.unconsumed_tail, at


@pytest.mark.parametrize("max_bytes", [0, 100, 256 * 1024])
@pytest.mark.parametrize("step_bytes", [1, 64, 1 << 20])
def test_damaged_streams_are_read_as_zlib_reads_them(step_bytes: int, max_bytes: int) -> None:
    errors = set()
    for window, packed in streams(step_bytes, 100):
        expected = told("zlib", window, packed, step_bytes, max_bytes)
        assert told("zlib-ng", window, packed, step_bytes, max_bytes) == expected
        errors.add(expected[1])
    assert len(errors) >= 8  # so many kinds of damage were met


@pytest.mark.parametrize("size_bytes", [*range(70), 255, 65_536, 70_001])
def test_checksums_are_those_of_zlib(size_bytes: int) -> None:
    data = Random(size_bytes).randbytes(size_bytes + 3)
    assert crc32(data) == zlib.crc32(data)
    assert crc32(memoryview(data)[3:]) == zlib.crc32(data[3:])


def test_a_window_that_the_head_says_is_smaller_does_not_end_a_stream() -> None:
    far = bytes(Random(1).randbytes(20_000))
    packed = bytearray(zlib.compress(far + far))
    packed[:2] = b"\x08\x1d"  # 256 bytes; the references go back 20,000
    assert Inflater(ZLIB).read(bytes(packed), 1 << 20) == far + far


def test_all_that_stands_before_damage_is_had() -> None:
    for window, packed in streams(5, 100):
        expected = told("zlib", window, packed, 1, 1 << 20)
        for max_bytes in (1_000, 1 << 20):
            inflater = Inflater(window)
            plain, pending, block = bytearray(), packed, b""
            try:
                while (pending or block) and not inflater.eof:
                    block = inflater.read(pending, max_bytes)
                    plain += block
                    pending = inflater.unread
            except Damaged as damage:
                plain += damage.plain
            assert (bytes(plain), bool(inflater.eof)) == expected[:3:2]


@pytest.mark.parametrize(("good_bytes", "is_read"), [(63, False), (64, True)])
def test_what_is_damaged_within_the_noise_gives_nothing(good_bytes: int, is_read: bool) -> None:
    length = good_bytes - 5
    packed = struct.pack("<BHH", 0, length, length ^ 0xFFFF) + TEXT[:length] + b"\x07"  # no block has this type
    with pytest.raises(Damaged, match="invalid block type") as caught:
        Inflater(RAW, 64).read(packed, 1 << 20)
    assert caught.value.plain == (TEXT[:length] if is_read else b"")
    with pytest.raises(Damaged) as caught:
        Inflater(RAW).read(packed, 1 << 20)
    assert caught.value.plain == TEXT[:length]


def test_running_out_of_memory_is_no_damage() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "MemoryError True\n", done.stdout + done.stderr


def test_a_stream_gives_what_stands_before_damage_and_then_says_so() -> None:
    packed = bytearray(zlib.compress(TEXT))
    packed[-3] ^= 1  # of the checksum
    stream = Inflate(io.BytesIO(packed), ZLIB)
    plain = b""
    while len(plain) < len(TEXT):
        plain += stream.read(1 << 15)
    assert plain == TEXT
    with pytest.raises(Broken, match="incorrect data check"):
        stream.read(1 << 15)
