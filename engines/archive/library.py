"""Reads archives in memory through libarchive: their members in order, and the data of each block by block.

Only the formats that are asked for are read, only through filters that are in the library itself (it would start
programs for others), and nothing is ever extracted.
"""

from __future__ import annotations

import ctypes
import errno
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from ctypes import byref, c_int64, c_size_t, c_void_p
from typing import Final

import numpy

from engines.archive.binding import allocated_bytes, load
from engines.archive.streams import (
    DICTIONARY_BYTES,
    LZMA_DICTIONARY_BYTES,
    OUT_BLOCK,
    Broken,
    Encrypted,
    Unsupported,
)
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Buffer

_EOF: Final = 1
_OK: Final = 0
_RETRY: Final = -10
_WARN: Final = -20
_RETRIES_MAX: Final = 64
_WORK_BYTES: Final = 8 * 1024 * 1024
"""What a decoder takes besides its dictionary."""
_UNSUPPORTED: Final = ("unsupported", "not supported", "support unavailable", "unknown compression", "unknown codec")


class Reader:
    """One archive in memory, read from its front to its end.

    State: the library's handle, freed by `close`; the data stays where it is until then. `skipped` counts the damaged
    headers that were stepped over; `work_bytes` is what the library has allocated for its decoders, as far as glibc
    tells.

    Args: `is_measured` where the data may name the size of a dictionary; to ask glibc takes milliseconds once memory
    is in many pieces.
    """

    def __init__(
        self,
        data: Buffer,
        formats: Sequence[str],
        filters: Sequence[str] = (),
        password: bytes = b"",
        *,
        is_measured: bool = True,
    ) -> None:
        self._is_measured = is_measured
        self.skipped = 0
        self.work_bytes = 0
        self._library = load()
        self._handle = c_void_p(self._library.archive_read_new())
        if not self._handle:
            raise MemoryError("archive_read_new")
        for kind, names in (("format", formats), ("filter", filters)):
            for name in names:
                if getattr(self._library, f"archive_read_support_{kind}_{name}")(self._handle) != _OK:
                    self.close()
                    raise Unsupported(f"libarchive was built without {name}")
        if password:
            self._library.archive_read_add_passphrase(self._handle, password)
        # ctypes gives no address of a buffer that is read-only.
        self._data = numpy.frombuffer(data, numpy.uint8)
        self._status = self._library.archive_read_open_memory(self._handle, self._data.ctypes.data, len(data))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._library.archive_read_free(self._handle)
        self._handle = c_void_p()

    def entries(self) -> Iterator[Entry]:
        """The members in order, each to be read before the next is asked for.

        Raises: Broken for damage that ends the list, Encrypted, Unsupported; LimitReached for a dictionary that does
        not go into memory.
        """
        if self._status < _WARN:
            raise self.error()
        header = c_void_p()
        entry: Entry | None = None
        while True:
            # The header behind data that was read to its end stands there: nothing is unpacked on the way to it.
            with nullcontext() if entry is not None and entry.is_read_out else self.measured():
                status = self._library.archive_read_next_header(self._handle, byref(header))
            if status == _EOF:
                return
            if status == _RETRY and self.skipped < _RETRIES_MAX:
                self.skipped += 1
                continue
            if status < _WARN or status == _RETRY:
                raise self.error()
            entry = Entry(self._library, self._handle, header, self)
            yield entry

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around calls that may allocate a dictionary, of a size that the archive names.

        Raises: LimitReached for one that is too large.
        """
        if not self._is_measured:
            yield
            return
        before = allocated_bytes()
        yield
        self.work_bytes += allocated_bytes() - before
        if self.work_bytes > LZMA_DICTIONARY_BYTES + _WORK_BYTES:
            raise LimitReached(DICTIONARY_BYTES)

    def error(self) -> Exception:
        """What the library says went wrong. It has numbers for few of its errors, so the text has to tell."""
        if self._library.archive_errno(self._handle) == errno.ENOMEM:
            return LimitReached(DICTIONARY_BYTES)
        message = (self._library.archive_error_string(self._handle) or b"").decode("ascii", "replace")
        text = message.lower()
        if "encrypt" in text or "crypto" in text:
            return Encrypted(message)
        if any(words in text for words in _UNSUPPORTED):
            return Unsupported(message)
        # Asked before a format was recognised, 3.8.10 dies.
        is_recognised = self._library.archive_format(self._handle) != 0
        if is_recognised and self._library.archive_read_has_encrypted_entries(self._handle) > 0:
            return Encrypted(message)
        return Broken(message or "damaged")


class Entry:
    """One member: what its header says, and its data as a stream.

    State: the block that the library gave last and how much of it was read; it is the library's, and good until the
    next is asked for. `is_read_out` once its data has come to its end.
    """

    def __init__(self, library: ctypes.CDLL, archive: c_void_p, header: c_void_p, reader: Reader) -> None:
        self._library = library
        self._archive = archive
        self._header = header
        self._reader = reader
        self._block = c_void_p()
        self._block_bytes = c_size_t()
        self._offset = c_int64()
        self._taken = 0
        self._reached = 0
        self._has_begun = False
        self._has_ended = False
        self.is_read_out = False

    @property
    def raw_name(self) -> bytes:
        """As UTF-8 where the library could make it that; may be empty."""
        name: bytes | None = self._library.archive_entry_pathname_utf8(self._header)
        return name or self._library.archive_entry_pathname(self._header) or b""

    @property
    def is_encrypted(self) -> bool:
        return bool(self._library.archive_entry_is_encrypted(self._header) > 0)

    @property
    def is_folder_or_link(self) -> bool:
        mode: int = self._library.archive_entry_filetype(self._header)
        return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)

    @property
    def passed_bytes(self) -> int:
        """How many bytes the header takes with what was read along with it, as the target of a link in RAR 4 is."""
        start: int = self._library.archive_read_header_position(self._archive)
        end: int = self._library.archive_filter_bytes(self._archive, 0)
        return end - start

    @property
    def size_bytes(self) -> int:
        """Of the data, as the header tells; 0 where it does not."""
        size_bytes: int = self._library.archive_entry_size(self._header)
        return size_bytes

    def read(self, size_bytes: int) -> bytes:
        """Some of the data, nothing at its end. A hole in a sparse file is zeros, and counts like any other data."""
        if self._taken == self._block_bytes.value and not self._next_block():
            return b""
        hole_bytes = self._offset.value + self._taken - self._reached
        if hole_bytes > 0:
            hole = bytes(min(size_bytes, hole_bytes, OUT_BLOCK))
            self._reached += len(hole)
            return hole
        count = min(size_bytes, self._block_bytes.value - self._taken)
        data = ctypes.string_at((self._block.value or 0) + self._taken, count)
        self._taken += count
        self._reached += count
        return data

    def rest(self) -> Entry:
        return self

    def _read_first_block(self) -> int:
        self._has_begun = True
        with self._reader.measured():
            return self._read_block()

    def _read_block(self) -> int:
        status: int = self._library.archive_read_data_block(
            self._archive, byref(self._block), byref(self._block_bytes), byref(self._offset)
        )
        return status

    def _next_block(self) -> bool:
        while not self._has_ended:
            status = self._read_block() if self._has_begun else self._read_first_block()
            self._taken = 0
            if status < _WARN or status == _RETRY:
                self._has_ended = True
                self._block_bytes.value = 0
                raise self._reader.error()
            self._has_ended = self.is_read_out = status == _EOF
            if self._has_ended:
                self._block_bytes.value = 0
            elif self._block_bytes.value:
                return True
        return False
