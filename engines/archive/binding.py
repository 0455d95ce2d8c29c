"""libarchive, bound by hand: the functions that list an archive in memory and give its data block by block.

Loaded once, when the engine is built, from the wheel of `archi`, which carries it, else from the system. The half of
the library that extracts is not bound.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Final, cast

from icapd.scan.engine_api import ConfigurationError, Problem

_CARRIER: Final = "archi"
_SYSTEM_NAME: Final = "libarchive.so.13"

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
    "archive_filter_bytes": (c_int64, (c_void_p, c_int)),
    "archive_read_header_position": (c_int64, (c_void_p,)),
    "archive_errno": (c_int, (c_void_p,)),
    "archive_error_string": (c_char_p, (c_void_p,)),
    "archive_entry_pathname_utf8": (c_char_p, (c_void_p,)),
    "archive_entry_pathname": (c_char_p, (c_void_p,)),
    "archive_entry_is_encrypted": (c_int, (c_void_p,)),
    "archive_entry_filetype": (c_uint, (c_void_p,)),
    "archive_entry_size": (c_int64, (c_void_p,)),
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
    _mallinfo()  # now: later a scanner may open no file
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


class _Allocations(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, c_size_t) for name in ("arena", "b", "c", "d", "mapped", "f", "g", "in_use", "i", "j")]


@cache
def _mallinfo() -> Callable[[], _Allocations] | None:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33 and later
    if function is not None:
        function.restype = _Allocations
    return cast("Callable[[], _Allocations] | None", function)


def allocated_bytes() -> int:
    """What this process has allocated: that of the library tells what memory an archive had it take. 0 where no one
    knows.
    """
    function = _mallinfo()
    if function is None:
        return 0
    told = function()
    return int(told.mapped + told.in_use)


def version() -> str:
    """Of the library and of the decompressors it was built with."""
    text: bytes = load().archive_version_details()
    return text.decode()
