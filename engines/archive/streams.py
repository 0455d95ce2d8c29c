"""Bounded decompression: pull-based streams that give at most a block at a time.

A stream's `read` returns some bytes, nothing at its end; it raises Broken for bad data, LimitReached for data that
asks for more memory than we give, and MemoryError where memory runs out, which is no fault of the data. `rest` is
what its source holds after the end. Streams stack: the source of one may be another. None gives more than a few
blocks for one call, whatever the data claims, so memory stays bounded before the budget is asked.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Final, Protocol

from engines.inflate import GZIP, RAW, ZLIB, Damaged, Inflater
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer

IN_BLOCK: Final = 64 * 1024
OUT_BLOCK: Final = 256 * 1024
GZIP_MAGIC: Final = b"\x1f\x8b"
_LZMA_TOO_LARGE: Final = "Memory usage limit exceeded"
LZMA_DICTIONARY_BYTES: Final = 64 * 1024 * 1024
DICTIONARY_BYTES: Final = "archive.max_dictionary_bytes"
WINDOW_BYTES: Final = "archive.max_window_bytes"


class Broken(Exception):
    """The compressed data is damaged or cut; what was read before it is good."""


class Unsupported(Broken):
    """The data needs what we do not have: a method, a dictionary. `what` goes into the finding's name."""

    def __init__(self, reason: str, what: str = "method") -> None:
        super().__init__(reason)
        self.what = what


class Encrypted(Broken):
    """The data, or the list of the members, is encrypted."""


class Source(Protocol):
    def read(self, size_bytes: int) -> bytes: ...


class Stream(Source, Protocol):
    def rest(self) -> Source: ...


class Range:
    """Reads the bytes of a buffer from one offset to another, checking the time at each block."""

    def __init__(self, data: Buffer, start: int, end: int, budget: Budget) -> None:
        self._data = data
        self.position = start
        self._end = min(end, len(data))
        self._budget = budget

    def read(self, size_bytes: int) -> bytes:
        self._budget.check_time()
        block = self._data[self.position : min(self.position + size_bytes, self._end)]
        self.position += len(block)
        return block

    def rest(self) -> Source:
        return self


class Pushed:
    """Bytes that were read too far, then their source.

    Never stands on another of its kind: a file of ten thousand gzip members would stack as many.
    """

    def __init__(self, first: bytes, source: Source) -> None:
        self._first: bytes = first + source._first if isinstance(source, Pushed) else first
        self._source: Source = source._source if isinstance(source, Pushed) else source

    def read(self, size_bytes: int) -> bytes:
        if self._first:
            block, self._first = self._first[:size_bytes], self._first[size_bytes:]
            return block
        return self._source.read(size_bytes)


class Inflate:
    """One zlib, gzip or raw deflate stream; `window` says which."""

    def __init__(self, source: Source, window: int) -> None:
        self._source = source
        self._inflater = Inflater(window)
        self._pending = b""
        self._broken = ""

    def read(self, size_bytes: int) -> bytes:
        if self._broken:
            raise Broken(self._broken)
        while not self._inflater.eof:
            packed = self._pending or self._source.read(IN_BLOCK)
            try:
                block = self._inflater.read(packed, size_bytes)
            except Damaged as damage:
                self._broken = str(damage)
                if damage.plain:
                    return damage.plain
                raise Broken(self._broken) from damage
            self._pending = self._inflater.unread
            if block:
                return block
            if not packed and not self._inflater.eof:
                raise Broken("cut short")
        return b""

    def rest(self) -> Source:
        return Pushed(self._inflater.unused, self._source)


class Concatenated:
    """Streams of one kind, one after the other: what gzip (RFC 1952 §2.2) and zstd (RFC 8878 §3) call a file.

    Raises: LimitReached("archive.max_members") for more streams than `max_streams`, which may all be empty.
    """

    def __init__(
        self, source: Source, open_stream: Callable[[Source], Stream], magic: bytes, max_streams: int
    ) -> None:
        self._open_stream = open_stream
        self._magic = magic
        self._stream = open_stream(source)
        self._streams_left = max_streams
        self._rest: Source = source

    def read(self, size_bytes: int) -> bytes:
        while True:
            block = self._stream.read(size_bytes)
            if block:
                return block
            rest = self._stream.rest()
            start = b""
            while len(start) < len(self._magic) and (more := rest.read(len(self._magic) - len(start))):
                start += more
            self._rest = Pushed(start, rest)
            if start != self._magic:
                return b""
            self._streams_left -= 1
            if self._streams_left <= 0:
                raise LimitReached("archive.max_members")
            self._stream = self._open_stream(self._rest)

    def rest(self) -> Source:
        return self._rest


def gunzip(source: Source, max_members: int) -> Stream:
    """A whole gzip file, its checksums verified."""
    return Concatenated(source, lambda rest: Inflate(rest, GZIP), GZIP_MAGIC, max_members)


def inflate_zip(source: Source) -> Stream:
    """The method ZIP calls deflate: raw."""
    return Inflate(source, RAW)


class Deflate:
    """The `deflate` coding: zlib by RFC 9110 §8.4.1.2, raw deflate as some servers send it."""

    def __init__(self, source: Source) -> None:
        first = source.read(IN_BLOCK)
        is_zlib = len(first) >= 2 and first[0] & 0x0F == 8 and (first[0] << 8 | first[1]) % 31 == 0
        self._inflate = Inflate(Pushed(first, source), ZLIB if is_zlib else RAW)

    def read(self, size_bytes: int) -> bytes:
        return self._inflate.read(size_bytes)

    def rest(self) -> Source:
        return self._inflate.rest()


class Buffered:
    """One bzip2 or LZMA stream, over the standard library's decompressors, which bound their output."""

    def __init__(self, source: Source, decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._source = source
        self._decompressor = decompressor

    def read(self, size_bytes: int) -> bytes:
        while not self._decompressor.eof:
            packed = self._source.read(IN_BLOCK) if self._decompressor.needs_input else b""
            try:
                block = self._decompressor.decompress(packed, size_bytes)
            except (OSError, lzma.LZMAError) as error:
                if str(error) == _LZMA_TOO_LARGE:
                    raise LimitReached(DICTIONARY_BYTES) from error
                raise Broken(str(error)) from error
            if block:
                return block
            if not packed and self._decompressor.needs_input:
                raise Broken("cut short")
        return b""

    def rest(self) -> Source:
        return Pushed(self._decompressor.unused_data, self._source)


_LZMA_WORK_BYTES: Final = 1024 * 1024
"""What a decoder takes besides its dictionary."""


def lzma_stream(source: Source, kind: int) -> Stream:
    """One stream in a container of `lzma`'s kinds."""
    return Buffered(source, lzma.LZMADecompressor(kind, memlimit=LZMA_DICTIONARY_BYTES + _LZMA_WORK_BYTES))


def xz_stream(source: Source) -> Stream:
    return lzma_stream(source, lzma.FORMAT_XZ)


def zip_lzma(source: Source) -> Stream:
    """LZMA as ZIP has it (APPNOTE 5.8.8): two version bytes, the length of the properties, the properties.

    Raises: Broken for properties that no encoder writes; LimitReached("archive.max_dictionary_bytes") for a
    dictionary past LZMA_DICTIONARY_BYTES.
    """
    head = source.read(9)
    if len(head) < 9 or head[2:4] != b"\x05\x00" or head[4] >= 9 * 5 * 5:
        raise Broken("bad LZMA properties")
    dictionary_bytes = int.from_bytes(head[5:9], "little")
    if dictionary_bytes > LZMA_DICTIONARY_BYTES:
        raise LimitReached(DICTIONARY_BYTES)
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    lzma1 = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary_bytes, 4096), "lc": lc, "lp": lp, "pb": pb}
    try:
        return Buffered(source, lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma1]))
    except lzma.LZMAError as error:
        raise Broken(str(error)) from error
