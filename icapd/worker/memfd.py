"""Anonymous files in memory that carry a snapshot from one process to its children."""

from __future__ import annotations

import os


def make_memfd(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file with this content, kept open by children that are given it."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor


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
