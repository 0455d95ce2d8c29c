"""libarchive, bound by hand: the functions that list an archive in memory and give its data block by block.

Loaded once, when the engine is built, from the wheel of `archi`, which carries it, else from the system. Only the
formats that are asked for are read, only through filters that are in the library itself (it would start programs for
others), and nothing is ever extracted: that half of the library is not bound.
"""

from __future__ import annotations

import ctypes
import errno
import stat
from collections.abc import Iterator, Sequence
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Final

import numpy

from engines.archive.streams import DICTIONARY_BYTES, OUT_BLOCK, Broken, Encrypted, Unsupported
from icapd.scan.engine_api import ConfigurationError, LimitReached, Problem
from icapd.scan.model import Buffer

_CARRIER: Final = "archi"
_SYSTEM_NAME: Final = "libarchive.so.13"
_EOF: Final = 1
_OK: Final = 0
_RETRY: Final = -10
_WARN: Final = -20
_RETRIES_MAX: Final = 64
_UNSUPPORTED: Final = ("unsupported", "not supported", "support unavailable", "unknown compression")

_FUNCTIONS: Final[dict[str, tuple[object, tuple[object, ...]]]] = {
    "archive_version_details": (c_char_p, ()),
    "archive_read_new": (c_void_p, ()),
    "archive_read_free": (c_int, (c_void_p,)),
    "archive_read_add_passphrase": (c_int, (c_void_p, c_char_p)),
    "archive_read_open_memory": (c_int, (c_void_p, c_void_p, c_size_t)),
    "archive_read_next_header": (c_int, (c_void_p, c_void_p)),
    "archive_read_data_block": (c_int, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "archive_read_has_encrypted_entries": (c_int, (c_void_p,)),
    "archive_format": (c_int, (c_void_p,)),
    "archive_errno": (c_int, (c_void_p,)),
    "archive_error_string": (c_char_p, (c_void_p,)),
    "archive_entry_pathname_utf8": (c_char_p, (c_void_p,)),
    "archive_entry_pathname": (c_char_p, (c_void_p,)),
    "archive_entry_is_encrypted": (c_int, (c_void_p,)),
    "archive_entry_filetype": (c_uint, (c_void_p,)),
}
_FORMATS: Final = ("7zip", "ar", "cab", "cpio", "iso9660", "lha", "rar", "rar5", "raw", "tar", "zip_streamable")
_FILTERS: Final = ("lz4", "lzip", "lzma", "compress")


def load() -> ctypes.CDLL:
    """The library, its functions declared.

    Raises: ConfigurationError where there is none, or one without the functions we need.
    """
    try:
        return _load()
    except (OSError, AttributeError) as error:
        raise ConfigurationError([Problem("engines.archive", f"libarchive cannot be loaded: {error}")]) from error


@cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_path())
    declared = dict(_FUNCTIONS)
    for names, kind in ((_FORMATS, "format"), (_FILTERS, "filter")):
        declared |= {f"archive_read_support_{kind}_{name}": (c_int, (c_void_p,)) for name in names}
    for name, (result, arguments) in declared.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _path() -> str:
    """The wheel's own library: the same on every machine, and newer than that of most distributions."""
    try:
        carried = [path for path in files(_CARRIER) or () if path.name.startswith("libarchive-")]
    except PackageNotFoundError:
        carried = []
    return str(carried[0].locate()) if carried else _SYSTEM_NAME


def version() -> str:
    """Of the library and of the decompressors it was built with."""
    text: bytes = load().archive_version_details()
    return text.decode()


class Reader:
    """One archive in memory, read from its front to its end.

    State: the library's handle, freed by `close`; the data stays where it is until then. `skipped` counts the damaged
    headers that were stepped over.
    """

    def __init__(
        self, data: Buffer, formats: Sequence[str], filters: Sequence[str] = (), password: bytes = b""
    ) -> None:
        self.skipped = 0
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
        while True:
            status = self._library.archive_read_next_header(self._handle, byref(header))
            if status == _EOF:
                return
            if status == _RETRY and self.skipped < _RETRIES_MAX:
                self.skipped += 1
                continue
            if status < _WARN or status == _RETRY:
                raise self.error()
            yield Entry(self._library, self._handle, header, self)

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
    next is asked for.
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
        self._has_ended = False

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

    def _next_block(self) -> bool:
        while not self._has_ended:
            status = self._library.archive_read_data_block(
                self._archive, byref(self._block), byref(self._block_bytes), byref(self._offset)
            )
            self._taken = 0
            if status < _WARN or status == _RETRY:
                self._has_ended = True
                self._block_bytes.value = 0
                raise self._reader.error()
            self._has_ended = status == _EOF
            if self._has_ended:
                self._block_bytes.value = 0
            elif self._block_bytes.value:
                return True
        return False
