"""What code that a body has taken over would try. Each returns what it got, or raises OSError."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Final

_PTRACE_ATTACH: Final = 16
_CLONE_NEWUSER: Final = 0x10000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _called(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _open_socket(family: socket.AddressFamily) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        return f"descriptor {opened.fileno()}"


def _connect(port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connected:
        connected.sendall(b"stolen")
    return "sent"


def _write(path: str) -> str:
    with open(path, "wb", buffering=0) as file:
        return f"{file.write(b'x')} bytes"


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return f"{len(file.read(64))} bytes"


def _remove(path: str) -> str:
    os.unlink(path)
    return "removed"


def _become_root(_: str) -> str:
    os.setuid(0)
    return f"user {os.getuid()}"


def _fork(_: str) -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child"


def _execute(path: str) -> str:
    os.execv(path, [path])


def _start(path: str) -> str:
    _, status = os.waitpid(os.posix_spawn(path, [path], {}), 0)
    return f"status {status}"


def _trace(pid: str) -> str:
    return str(_called(_LIBC.ptrace(_PTRACE_ATTACH, int(pid), None, None)))


def _kill(pid: str) -> str:
    os.kill(int(pid), signal.SIGKILL)
    return "sent"


def _read_memory(pid: str) -> str:
    into = ctypes.create_string_buffer(16)
    piece = (ctypes.c_size_t * 2)(ctypes.addressof(into), len(into))
    return str(_called(_LIBC.process_vm_readv(int(pid), ctypes.byref(piece), 1, ctypes.byref(piece), 1, 0)))


def _make_code(_: str) -> str:
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_WRITE | mmap.PROT_EXEC):
        return "code"


def _raise_limit(_: str) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    return "raised"


def _load_code(_: str) -> str:
    return str(ctypes.CDLL("libutil.so.1"))


ATTACKS: Final[dict[str, Callable[[str], str]]] = {
    "inet-socket": lambda _: _open_socket(socket.AF_INET),
    "unix-socket": lambda _: _open_socket(socket.AF_UNIX),
    "connect": _connect,
    "write": _write,
    "read": _read,
    "list": lambda path: ",".join(os.listdir(path)),
    "look": lambda path: str(os.stat(path).st_size),
    "remove": _remove,
    "fork": _fork,
    "execute": _execute,
    "start": _start,
    "trace": _trace,
    "kill": _kill,
    "read-memory": _read_memory,
    "become-root": _become_root,
    "new-namespace": lambda _: str(_called(_LIBC.unshare(_CLONE_NEWUSER))),
    "raise-limit": _raise_limit,
    "make-code": _make_code,
    "load-code": _load_code,
    "memfd": lambda _: str(os.memfd_create("x")),
}
"""By name; each takes the target that its order names."""
