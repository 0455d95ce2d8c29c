"""Bombs of every format, each in a process of its own, so that memory taken by libraries counts too."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import random
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable

import pytest
import zstandard

from tests.engines import archive_writing as written
from tests.engines.archive_fixtures import SEVEN_ZIP, SEVEN_ZIP_BOMB_PACKED
from tests.engines.samples import tar_of, zip_of
from tests.support.pace import is_within

MiB = 1024 * 1024
SECONDS = 2.0
MEMORY_BYTES = 200 * MiB
ZEROS = bytes(256 * MiB)


def nested(pack: Callable[[bytes], bytes], levels: int, data: bytes = b"soup") -> bytes:
    for _ in range(levels):
        data = pack(data)
    return data


def large_dictionary(dictionary_bytes: int = 256 * MiB) -> bytes:
    """A 7z whose list of members says that to unpack it takes so much memory."""
    archive = bytearray(SEVEN_ZIP)
    at = archive.rindex(b"\x5d\x00\x10\x00\x00") + 1
    archive[at : at + 4] = dictionary_bytes.to_bytes(4, "little")
    offset, size, _ = struct.unpack_from("<QQI", archive, 12)
    struct.pack_into("<I", archive, 28, zlib.crc32(archive[32 + offset : 32 + offset + size]))
    struct.pack_into("<I", archive, 8, zlib.crc32(archive[12:32]))
    return bytes(archive)


def sparse_tar() -> bytes:
    """GNU's old sparse format: one byte of data at the end of a terabyte."""
    entry = tarfile.TarInfo("hole")
    entry.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"%011o\x00" % 1
    size = b"\x80\x00\x00\x00" + (1 << 40).to_bytes(8, "big")
    head[386:398] = b"\x80\x00\x00\x00" + ((1 << 40) - 1).to_bytes(8, "big")
    head[398:410] = b"%011o\x00" % 1
    head[483:495] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\x00 " % sum(head)
    return bytes(head) + b"x".ljust(512, b"\x00") + bytes(1024)


def many_in_a_tar() -> bytes:
    head = tarfile.TarInfo("a").tobuf()
    return head * 100_000 + bytes(1024)


def mail_in_mail() -> bytes:
    head = b"From: a@b\r\nTo: c@d\r\nSubject: x\r\nContent-Type: message/rfc822\r\n\r\n"
    return head * 50 + b"x"


def quine() -> bytes:
    """A gzip file that holds itself cannot be told from a very deep one: many levels stand for it."""
    return nested(gzip.compress, 40)


BOMBS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "gzip of zeros": (lambda: gzip.compress(ZEROS), {"limit:archive.max_ratio"}),
    "gzip of zeros below the ratio": (lambda: gzip.compress(ZEROS, 1), {"limit:archive.max_member_bytes"}),
    "bzip2 of zeros": (lambda: bz2.compress(ZEROS[: 64 * MiB], 1), {"limit:archive.max_ratio"}),
    "xz of zeros": (lambda: lzma.compress(ZEROS, preset=0), {"limit:archive.max_ratio"}),
    "zstd of zeros": (lambda: zstandard.compress(ZEROS), {"limit:archive.max_ratio"}),
    "7z of zeros": (lambda: zlib.decompress(SEVEN_ZIP_BOMB_PACKED), {"limit:archive.max_ratio"}),
    "tar.gz of zeros": (lambda: gzip.compress(tar_of({"a": ZEROS})), {"limit:archive.max_ratio"}),
    "tars in tars": (lambda: nested(lambda data: tar_of({"a": data}), 12), {"limit:archive.max_depth"}),
    "cpios in ars": (
        lambda: nested(lambda data: written.ar({"a": written.cpio({"b": data})}), 6),
        {"limit:archive.max_depth"},
    ),
    "quine": (quine, {"limit:archive.max_depth"}),
    "mail in mail": (mail_in_mail, {"limit:archive.max_depth"}),
    "a hole of a terabyte": (sparse_tar, {"limit:archive.max_ratio", "limit:archive.max_member_bytes"}),
    "tars in a gzip below the ratio": (
        lambda: gzip.compress(nested(lambda data: tar_of({"a": data}), 3, ZEROS[: 100 * MiB]), 1),
        {"limit:archive.max_held_bytes"},
    ),
    "a data: URL in a gzip below the ratio": (
        lambda: gzip.compress(b'<html><a href="data:a/b;base64,' + b"A" * 110 * MiB + b'">', 1),
        {"limit:archive.max_held_bytes", "limit:archive.max_ratio"},
    ),
    "a dictionary of 256 MiB": (large_dictionary, {"limit:archive.max_dictionary_bytes"}),
    "11,000 members of zeros": (
        lambda: zip_of({str(n): ZEROS[:1_000] for n in range(11_000)}),
        {"limit:archive.max_members"},
    ),
    "ten million boundaries that are none": (
        lambda: gzip.compress(
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n" + b"--Bx\r\n" * 10_000_000, 1
        ),
        {"limit:embedded.max_boundaries"},
    ),
    "100,000 entries of tar": (many_in_a_tar, {"limit:archive.max_members"}),
    "100,000 entries of cpio": (
        lambda: written.cpio({f"{n}": b"" for n in range(100_000)}),
        {"limit:archive.max_members"},
    ),
    "100,000 entries of ar": (
        lambda: written.ar({f"{n}": b"x" for n in range(100_000)}),
        {"limit:archive.max_members"},
    ),
    "100,000 entries of lzh": (
        lambda: written.lzh({f"{n:06}": b"x" for n in range(100_000)}),
        {"limit:archive.max_members"},
    ),
    "100,000 entries of rar": (
        lambda: written.rar5({f"{n:06}": b"x" for n in range(100_000)}),
        {"limit:archive.max_members"},
    ),
    "100,000 entries of xar": (
        lambda: written.xar({f"{n:06}": b"x" for n in range(100_000)}),
        {"limit:archive.max_members", "limit:archive.max_toc_bytes"},
    ),
    "100,000 parts": (
        lambda: b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 100_000,
        {"limit:embedded.max_parts"},
    ),
    "20,000 data URLs": (
        lambda: b"<html>" + (b'<a href="data:a/b;base64,' + base64.b64encode(bytes(400)) + b'">') * 20_000,
        {"limit:archive.max_members"},
    ),
    "zips in mails in zips": (
        lambda: nested(
            lambda data: zip_of({"a.eml": b"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(data)}), 6,
        ),
        {"limit:archive.max_depth"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_unscannable_within_two_seconds_and_200_mb(name: str) -> None:
    make, expected = BOMBS[name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.bomb_scan"], input=make(), capture_output=True, check=True, timeout=120
    )
    report = json.loads(done.stdout)
    assert report["verdict"] == "UNSCANNABLE"
    assert set(report["names"]) & expected, report
    assert is_within(report["cpu_s"], SECONDS)
    assert report["grown_bytes"] < MEMORY_BYTES


def test_an_ordinary_archive_beside_them_is_clean() -> None:
    body = gzip.compress(tar_of({"a": b"soup" * 1000, "b.zip": zip_of({"c": io.BytesIO(b"d").read()})}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.bomb_scan"], input=body, capture_output=True, check=True, timeout=120
    )
    assert json.loads(done.stdout)["verdict"] == "CLEAN"


def test_members_below_every_limit_are_scanned_by_yara_within_the_same_bounds() -> None:
    """470 MiB, nearly all that may come out, in members nearly as large as they may be, packed nearly as tightly."""
    noise = random.Random(1)
    member = b"".join(bytes(9 * MiB) + noise.randbytes(40_000) for _ in range(13))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.bomb_scan", "conf/rules"],
        input=zip_of({f"{number}.bin": member for number in range(4)}),
        capture_output=True,
        check=True,
        timeout=120,
    )
    report = json.loads(done.stdout)
    assert (report["verdict"], report["names"]) == ("CLEAN", [])
    assert is_within(report["cpu_s"], SECONDS)
    assert report["grown_bytes"] < MEMORY_BYTES
