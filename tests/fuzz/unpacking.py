"""What the decoders are fuzzed with: a small good input for each, faults, and the rules they must keep."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
import zlib
from collections.abc import Callable
from random import Random
from typing import Final

import brotli
import zstandard

from engines.archive import ArchiveOptions
from engines.embedded import SPEC as EMBEDDED
from engines.embedded import EmbeddedOptions
from engines.identify.identifier import ContentIdentifier
from icapd.scan.engine_api import Unpacker
from icapd.scan.model import Outcome, Sample
from icapd.scan.tree import EngineSet, examine
from tests.engines import archive_fixtures as made
from tests.engines import archive_writing as written
from tests.engines.archive_probe import unpacker
from tests.engines.embedded_probe import FILE, onenote, shortcut, tnef
from tests.engines.samples import tar_of, zip_of
from tests.engines.test_mail import mail

SECONDS: Final = 2.0
_TWO: Final = {"soup.txt": made.SOUP, "more": made.SOUP}

CODINGS: Final[dict[str, bytes]] = {
    "gzip": gzip.compress(made.SOUP),
    "deflate": zlib.compress(made.SOUP),
    "br": brotli.compress(made.SOUP),
    "zstd": zstandard.compress(made.SOUP),
}
TARGETS: Final[dict[str, bytes]] = {
    **{f"coding-{name}": data for name, data in CODINGS.items()},
    "zip": zip_of(_TWO),
    "zip-deflate64": made.ZIP_DEFLATE64,
    "zip-ppmd": made.ZIP_PPMD,
    "zip-aes": made.ZIP_AES_256,
    "zip-encrypted": made.ZIP_STREAMED_ENCRYPTED,
    "7z": made.SEVEN_ZIP,
    "7z-encrypted": made.SEVEN_ZIP_ENCRYPTED,
    "7z-encrypted-list": made.SEVEN_ZIP_ENCRYPTED_LIST,
    "7z-bcj2-encrypted": made.SEVEN_ZIP_BCJ2_ENCRYPTED,
    "cab": made.CABINET,
    "iso9660": made.ISO9660[:60_000],
    "program": b"MZ" + bytes(500) + made.SEVEN_ZIP,
    "tar": tar_of(_TWO),
    "rar4": written.rar4(_TWO),
    "rar5": written.rar5(_TWO),
    "lzh": written.lzh(_TWO),
    "cpio": written.cpio(_TWO),
    "ar": written.ar(_TWO),
    "rpm": written.rpm(gzip.compress(written.cpio(_TWO))),
    "xar": made.XAR,
    "gzip": CODINGS["gzip"],
    "bzip2": bz2.compress(made.SOUP),
    "xz": lzma.compress(made.SOUP),
    "lzma": lzma.compress(made.SOUP, lzma.FORMAT_ALONE),
    "zstd": CODINGS["zstd"],
    "lz4": made.LZ4,
    "lzip": made.LZIP,
    "compress": made.COMPRESS,
    "mail": mail(),
    "form": b"--B\r\nContent-Disposition: form-data; name=\"a\"; filename*=utf-8''b\r\n\r\nsoup\r\n--B--\r\n",
    "uuencode": b"Subject: a\nMIME-Version: 1.0\n\nbegin 644 a\n#86)C\n`\nend\n"
    b"=ybegin line=9 size=3 name=b\nxyz\n=yend\n",
    "tnef": tnef(("a.exe", FILE[:200])),
    "text": b'<html><a href="data:a/b;base64,' + b"QUJD" * 200 + b'">' + b"QUJD" * 300,
    "onenote": onenote(FILE[:200], b"second"),
    "shortcut": shortcut("a", "b", b"c"),
}
"""By decoder: something that it reads whole."""

_WORDS: Final = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\r\n\r\n",
    b"--B",
    b"PK\x03\x04",
)


def mutated(data: bytes, random: Random) -> bytes:
    """The input with one to four faults: other bytes, lost and repeated ones, telling numbers and words, a cut."""
    out = bytearray(data)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(out) + 1)
        match random.randrange(6):
            case 0:
                out[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del out[at : at + random.randrange(1, 9)]
            case 2:
                out[at:at] = out[at : at + random.randrange(1, 200)]
            case 3:
                word = random.choice(_WORDS)
                out[at : at + len(word)] = word
            case 4:
                out[at:at] = random.choice(_WORDS)
            case _:
                del out[max(at, 8) :]
    return bytes(out)


def engine_set() -> Callable[[bytes, str], None]:
    """What checks one input: it raises for an engine that failed, or that took too long."""
    archive = unpacker(ArchiveOptions(passwords=["secret"]))
    embedded = EMBEDDED.build(EmbeddedOptions(), {})
    assert isinstance(embedded, Unpacker)
    engines = EngineSet(ContentIdentifier(None), (), (archive, embedded))

    def check(data: bytes, target: str) -> None:
        coding = target.removeprefix("coding-") if target.startswith("coding-") else ""
        started = time.process_time()
        examination = examine(Sample(data, coding=coding), engines, archive.budget(time.monotonic() + 60))
        cpu_s = time.process_time() - started
        failed = [report for report in examination.reports if report.outcome is Outcome.FAILED]
        if failed:
            raise AssertionError(f"{target}: {failed[0].engine}: {failed[0].reason}")
        if cpu_s > SECONDS:
            raise AssertionError(f"{target}: took {cpu_s:.1f} s")

    return check
