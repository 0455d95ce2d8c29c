"""Brotli and zstd: streams over libraries that drop the output of a call that fails."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

import brotli
import zstandard

from engines.archive.streams import (
    IN_BLOCK,
    OUT_BLOCK,
    WINDOW_BYTES,
    Broken,
    Concatenated,
    Pushed,
    Source,
    Stream,
    Unsupported,
)
from icapd.scan.engine_api import LimitReached

REPLAY_BYTES: Final = 1024 * 1024
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What RFC 9659 §3 allows for the zstd content coding."""
ZSTD_FILE_WINDOW_BYTES: Final = 64 * 1024 * 1024
_ZSTD_WINDOW_TOO_LARGE: Final = "Frame requires too much memory"
_ZSTD_DICTIONARY: Final = "Dictionary mismatch"
_ZSTD_NO_MEMORY: Final = "not enough memory"
_BROTLI_WORK_BYTES: Final = 32 * 1024 * 1024
"""More than a decoder allocates: a window of 16 MiB, its tables, a block."""


class _Replayed(ABC):
    """Remembers the first input; when a call fails, decodes it once more, the last block byte by byte.

    Otherwise one wrong byte after the end would hide what a browser shows: brotli refuses a call with bytes after the
    end and gives nothing of what it decoded in it.
    """

    in_block_bytes = IN_BLOCK

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fed: list[bytes] = []
        self._fed_bytes = 0
        self._given_bytes = 0
        self._unused = b""
        self._broken: Broken | None = None
        self._ended = False
        self._start()

    @abstractmethod
    def _start(self) -> None:
        """Begins anew."""

    @abstractmethod
    def _feed(self, packed: bytes) -> bytes:
        """Output for input; for no input, what the decoder still holds.

        Raises: Broken for bad data; MemoryError where memory ran out, which says nothing of the data.
        """

    @abstractmethod
    def _has_ended(self) -> bool: ...

    @abstractmethod
    def _wants_input(self) -> bool: ...

    def read(self, size_bytes: int) -> bytes:
        while not self._ended:
            if self._broken is not None:
                raise self._broken
            wants_input = self._wants_input()
            packed = self._next_input() if wants_input else b""
            try:
                block = self._feed(packed)
                self._ended = self._has_ended()
            except Broken as error:
                self._broken = error
                block = self._replay()
            if block:
                self._given_bytes += len(block)
                return block
            if wants_input and not packed and not self._ended:
                raise Broken("cut short")
        return b""

    def rest(self) -> Source:
        return Pushed(self._unused, self._source)

    def _next_input(self) -> bytes:
        packed = self._source.read(self.in_block_bytes)
        self._fed_bytes += len(packed)
        if packed and self._fed_bytes <= REPLAY_BYTES:
            self._fed.append(packed)
        return packed

    def _replay(self) -> bytes:
        """What came out before the damage and was not given yet."""
        if self._fed_bytes > REPLAY_BYTES:
            return b""
        self._start()
        skip_bytes = self._given_bytes
        fresh = bytearray()
        with contextlib.suppress(Broken):
            for packed, unused in self._pieces():
                block = self._feed(packed)
                while block:
                    fresh += block[skip_bytes:]
                    skip_bytes = max(0, skip_bytes - len(block))
                    block = self._feed(b"")
                self._ended = self._has_ended()
                if self._ended:
                    self._unused = unused
                    break
                if len(fresh) > REPLAY_BYTES:
                    break
        return bytes(fresh)

    def _pieces(self) -> Iterator[tuple[bytes, bytes]]:
        """All input so far, the last block byte by byte, each piece with what follows it in its block."""
        for packed in self._fed[:-1]:
            yield packed, b""
        last = self._fed[-1]
        for at in range(len(last)):
            yield last[at : at + 1], last[at + 1 :]


class Brotli(_Replayed):
    """RFC 7932."""

    def _start(self) -> None:
        self._decoder = brotli.Decompressor()

    def _feed(self, packed: bytes) -> bytes:
        try:
            block: bytes = self._decoder.process(packed, output_buffer_limit=OUT_BLOCK)
        except brotli.error as error:
            # It tells one kind of error alone; what asks for as much memory tells which it was.
            bytearray(_BROTLI_WORK_BYTES)
            raise Broken(str(error)) from error
        return block

    def _has_ended(self) -> bool:
        return bool(self._decoder.is_finished())

    def _wants_input(self) -> bool:
        return bool(self._decoder.can_accept_more_data())


class ZstdFrame(_Replayed):
    """One frame of RFC 8878. The library does not bound its output, so it gets little input at a time."""

    in_block_bytes = 128
    """A block takes at least 4 bytes and gives at most 128 KiB: 4 MiB a call."""
    window_bytes = ZSTD_WINDOW_BYTES

    def _start(self) -> None:
        self._decoder = zstandard.ZstdDecompressor(max_window_size=self.window_bytes).decompressobj()

    def _feed(self, packed: bytes) -> bytes:
        if not packed:
            return b""
        try:
            return self._decoder.decompress(packed)
        except zstandard.ZstdError as error:
            reason = str(error)
            if _ZSTD_WINDOW_TOO_LARGE in reason:
                raise LimitReached(WINDOW_BYTES) from error
            if _ZSTD_DICTIONARY in reason:
                raise Unsupported(reason, "dictionary") from error
            if _ZSTD_NO_MEMORY in reason:
                raise MemoryError(reason) from error
            raise Broken(reason) from error

    def _has_ended(self) -> bool:
        return self._decoder.eof

    def _wants_input(self) -> bool:
        return True

    def rest(self) -> Source:
        return Pushed(self._decoder.unused_data, self._source)


class LongZstdFrame(ZstdFrame):
    """A frame in a file: the levels above 19 want windows larger than the coding may have."""

    window_bytes = ZSTD_FILE_WINDOW_BYTES


def unzstd(source: Source, max_frames: int) -> Stream:
    """Frames one after the other, with the windows of the content coding."""
    return Concatenated(source, ZstdFrame, ZSTD_MAGIC, max_frames)


def unzstd_file(source: Source, max_frames: int) -> Stream:
    """A whole zstd file."""
    return Concatenated(source, LongZstdFrame, ZSTD_MAGIC, max_frames)
