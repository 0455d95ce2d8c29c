"""The system calls that Python has no name for, each raising OSError where the kernel refuses."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    """The result of any system call. Raises: OSError."""
    return _checked(_libc.syscall(ctypes.c_long(number), *map(_argument, arguments)))


def prctl(option: int, *arguments: int) -> int:
    """Raises: OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl(option, *map(ctypes.c_ulong, padded)))


def unshare(flags: int) -> None:
    """Raises: OSError."""
    _checked(_libc.unshare(flags))


def drop_capabilities() -> None:
    """Empties the effective, permitted and inheritable sets of this thread. Raises: OSError."""
    header = ctypes.create_string_buffer(_CAPABILITY_VERSION_3.to_bytes(8, "little"), 8)
    _checked(_libc.capset(header, ctypes.create_string_buffer(bytes(24), 24)))


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends; a change of user undoes this."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked to be told, and nobody could kill us at a deadline


_CAPABILITY_VERSION_3 = 0x20080522


def _argument(value: int | ctypes.Array[ctypes.c_char]) -> object:
    return ctypes.c_ulong(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
