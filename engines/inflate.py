"""Deflate: the one place that says which library undoes it, and what is had of damaged data.

zlib-ng, through its drop-in module: it gives byte for byte what zlib gives, in half the time (ADR 42). Engines may
import this module as they import their contract; it knows no engine, no budget and no format around a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, cast

from zlib_ng import zlib_ng

ZLIB: Final = zlib_ng.MAX_WBITS
"""Windows, as `decompressor` takes them: a zlib stream (RFC 1950), a gzip member (RFC 1952), deflate alone (1951)."""
GZIP: Final = ZLIB | 16
RAW: Final = -ZLIB
InflateError: Final = cast("type[Exception]", zlib_ng.error)
"""Not the class of the standard library's zlib."""
crc32: Final = zlib_ng.crc32
_STEPS: Final = (4096, 64, 1)


class Decompressor(Protocol):
    """What the library gives, which its stubs tell in part; as `zlib.decompressobj` is documented."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, packed: bytes | memoryview, max_bytes: int = 0, /) -> bytes: ...

    def copy(self) -> Decompressor: ...


decompressor: Final = cast("Callable[[int], Decompressor]", zlib_ng.decompressobj)
"""For a stream that is worth nothing when it is damaged. Raises: MemoryError."""


class Damaged(Exception):
    """The stream cannot be read on. `plain` are the bytes before the damage that were not given yet."""

    def __init__(self, reason: str, plain: bytes) -> None:
        super().__init__(reason)
        self.plain = plain


class Inflater:
    """One stream, of which every byte before damage is had. State: the decompressor's.

    Args: with `noise_bytes`, 64, a stream gives nothing that gives nothing by steps of so many bytes: less of what is
    no deflate at all may be read by chance.
    """

    __slots__ = ("_decompressor", "_is_begun", "_noise_bytes", "_window")

    def __init__(self, window: int, noise_bytes: int = 0) -> None:
        self._window = window
        self._noise_bytes = noise_bytes
        self._decompressor = decompressor(window)
        self._is_begun = False

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unread(self) -> bytes:
        """What of the last input waits because the output was full."""
        return self._decompressor.unconsumed_tail

    @property
    def unused(self) -> bytes:
        """What of the input stands behind the stream's end."""
        return self._decompressor.unused_data

    def read(self, packed: bytes, max_bytes: int) -> bytes:
        """Up to so many plain bytes. Raises: Damaged, after which nothing is read; MemoryError."""
        before = self._decompressor.copy() if self._is_begun else None
        self._is_begun = True
        try:
            return self._decompressor.decompress(packed, max_bytes)
        except InflateError as error:
            if before is None:
                plain = _salvaged(decompressor(self._window), packed, self._noise_bytes)
            else:
                plain = _salvaged(before, packed, 0)
            raise Damaged(str(error), plain) from error


def _salvaged(before: Decompressor, packed: bytes, noise_bytes: int) -> bytes:
    """The bytes before the damage, by ever smaller steps of input: a call that fails keeps its output to itself.

    They are no more than that call might have given, which is what bounds them.
    """
    salvaged = bytearray()
    rest = memoryview(packed)
    for step in _STEPS:
        if step < noise_bytes and not salvaged:
            break
        while rest:
            attempt = before.copy()
            try:
                salvaged += attempt.decompress(rest[:step])
            except InflateError:
                break
            before, rest = attempt, rest[step:]
    return bytes(salvaged)
