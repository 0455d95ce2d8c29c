"""Anonymous files in memory: they carry a snapshot to children, or are shared by them."""

from __future__ import annotations

import fcntl
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def make_sealable(name: str) -> int:
    """A descriptor of an anonymous file that is empty yet."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(descriptor: int) -> None:
    """From now on nobody can change the file, whoever holds a descriptor of it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def make_memfd(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file with this content, kept open by children that are given it."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor


def make_blank(name: str, size_bytes: int) -> int:
    """A descriptor of an anonymous file of zeros, which takes memory only where it is written to."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size_bytes)
    return descriptor


def read_only(descriptor: int) -> int:
    """Another descriptor of the same file, for a process that must not write to it. Raises: OSError."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return os.dup(descriptor)
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def read_memfd(descriptor: int) -> bytes:
    """The whole content, wherever another reader of the same file stands."""
    size = os.fstat(descriptor).st_size
    pieces = []
    offset = 0
    while offset < size:
        piece = os.pread(descriptor, min(size - offset, 1 << 26), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
