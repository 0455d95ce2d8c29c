"""The compression methods of ZIP (APPNOTE 4.4.5).

PPMd is libarchive's, which is given the member alone with its header.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from typing import Final

from engines.archive.collect import Unpacked, collect, collect_up_to_rest
from engines.archive.deflate64 import Inflate64
from engines.archive.library import Reader
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import unzstd
from engines.archive.streams import (
    LZMA_DICTIONARY_BYTES,
    Broken,
    Buffered,
    Range,
    Source,
    Stream,
    inflate_zip,
    xz_stream,
    zip_lzma,
)
from engines.archive.zip_directory import Entry
from engines.inflate import RAW, InflateError, crc32, decompressor
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer

STORED: Final = 0
DEFLATE: Final = 8
_SMALL_WINDOW_BYTES: Final = 8 * 1024 * 1024
DESCRIPTOR_BYTES: Final = 24
"""Of a data descriptor, at most."""
_PPMD: Final = 98
AES: Final = 99
"""Not a method but encryption, the method beneath it stands in an extra field."""

_METHODS: Final[dict[int, tuple[Callable[[Source], Stream], int]]] = {
    DEFLATE: (inflate_zip, 0),
    9: (Inflate64, 0),
    12: (lambda source: Buffered(source, bz2.BZ2Decompressor()), _SMALL_WINDOW_BYTES),
    14: (zip_lzma, LZMA_DICTIONARY_BYTES),
    20: (lambda source: unzstd(source, 1), _SMALL_WINDOW_BYTES),
    93: (lambda source: unzstd(source, 1), _SMALL_WINDOW_BYTES),
    95: (xz_stream, LZMA_DICTIONARY_BYTES),
}
"""By number: who decodes it, and what memory that may take."""


def read_quickly(data: Buffer, entry: Entry) -> bytes | None:
    """A small member in one step, where all is as the headers say: its size, its checksum, and nothing behind it.

    So are nearly all members of honest archives, and it takes a third of the time. Nothing for any other.
    """
    plain = bytes(data[entry.start : entry.end])
    if entry.method == DEFLATE:
        inflater = decompressor(RAW)
        try:
            plain = inflater.decompress(plain, entry.unpacked_bytes + 1)
        except InflateError:
            return None
        if not inflater.eof or inflater.unused_data:
            return None
    elif entry.method != STORED:
        return None
    is_whole = len(plain) == entry.unpacked_bytes and entry.end - entry.start == entry.packed_bytes
    return plain if is_whole and crc32(plain) == entry.crc else None


def read_member(data: Buffer, entry: Entry, limits: ArchiveOptions, budget: Budget) -> tuple[Unpacked, Source] | None:
    """What a member holds, and what is left of its packed bytes behind that; nothing for an unknown method."""
    source = Range(data, entry.start, entry.end, budget)
    if entry.method != _PPMD:
        return read(source, entry.method, entry.end - entry.start, limits, budget)
    alone = bytes(data[entry.header : entry.end + DESCRIPTOR_BYTES])
    try:
        with Reader(alone, ("zip_streamable",)) as reader:
            content = collect(next(reader.entries()), len(alone), limits, budget, LZMA_DICTIONARY_BYTES)
    except LimitReached as reached:
        content = Unpacked(b"", reached.limit)
    except (Broken, StopIteration) as error:
        content = Unpacked(b"", "", error if isinstance(error, Broken) else Broken("no member"))
    return content, Range(data, entry.end, entry.end, budget)


def read(
    source: Source, method: int, packed_bytes: int, limits: ArchiveOptions, budget: Budget
) -> tuple[Unpacked, Source] | None:
    """What a member's packed bytes hold, and what is left of them behind its end; nothing for an unknown method."""
    if method == STORED:
        return collect(source, packed_bytes, limits, budget), source
    if method not in _METHODS:
        return None
    open_stream, work_bytes = _METHODS[method]
    try:
        stream = open_stream(source)
    except Broken as error:
        return Unpacked(b"", "", error), source
    except LimitReached as reached:
        return Unpacked(b"", reached.limit), source
    return collect_up_to_rest(stream, packed_bytes, limits, budget, work_bytes)
