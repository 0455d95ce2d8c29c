"""Landlock: the kernel refuses to open any file but those named here, whoever the user is (Linux 5.13).

Files without a place in a file system, such as a body's memfd, may be opened again through /proc/self/fd always.

Spec: the kernel's Documentation/userspace-api/landlock.rst
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterable
from functools import partial

from icapd.worker.sandbox.kernel import system_call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The numbers are the same on every architecture."""
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE = 1 << 2

_FILE_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
"""How many rights each ABI knows, from the lowest bit on; execute, write, read, list, remove, make, refer, truncate,
device ioctl."""
_NETWORK_ABI, _BIND_AND_CONNECT_TCP = 4, 0b11
_SCOPE_ABI, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11


def prepare_files(readable: Iterable[str]) -> Callable[[], str]:
    """Looks up these files and folders. Returns: what forbids all files but those, and those below those folders.

    It does so for good, for threads to come too, and raises OSError on a kernel without Landlock.
    """
    try:
        return partial(_restrict, *_make_ruleset(readable))
    except OSError as error:
        return partial(_refuse, error)


def _refuse(error: OSError) -> str:
    raise error


def _make_ruleset(readable: Iterable[str]) -> tuple[int, int]:
    """A descriptor of the ruleset, and the kernel's ABI. Raises: OSError."""
    abi = system_call(_CREATE_RULESET, 0, 0, _VERSION)
    fields = [(1 << max(count for since, count in _FILE_RIGHTS if since <= abi)) - 1]
    if abi >= _NETWORK_ABI:
        fields.append(_BIND_AND_CONNECT_TCP)
    if abi >= _SCOPE_ABI:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = system_call(_CREATE_RULESET, _buffer(attributes), len(attributes), 0)
    for path in readable:
        with contextlib.suppress(OSError):  # what we cannot reach no scanner could read
            _allow_reading(ruleset, path)
    return ruleset, abi


def _allow_reading(ruleset: int, path: str) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        system_call(_ADD_RULE, ruleset, _PATH_BENEATH, _buffer(struct.pack("=Qi", _READ_FILE, descriptor)), 0)
    finally:
        os.close(descriptor)


def _restrict(ruleset: int, abi: int) -> str:
    try:
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    extent = ["files"]
    if abi >= _NETWORK_ABI:
        extent.append("TCP")
    if abi >= _SCOPE_ABI:
        extent.append("signals")
    return f"ABI {abi}: {', '.join(extent)}"


def _buffer(content: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(content, len(content))
