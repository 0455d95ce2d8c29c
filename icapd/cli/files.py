"""What `icapd scan` reads: the walk over folders, and a file as a body that scanners map where it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator

from icapd.scan.spool import Body, Spool

Skipped = Callable[[str, str], None]
"""Is told a path and why it is left out."""

Unread = Callable[[str, OSError], None]
"""Is told a path and why it could not be read."""


def walk(paths: Iterable[str], on_skipped: Skipped, on_unread: Unread) -> Iterator[str]:
    """Every regular file below the paths, in the order of names.

    A path that was named is followed when it is a symbolic link, one that is found in a folder is not: it could lead
    anywhere, also in a circle.
    """
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            on_unread(path, error)
            continue
        if stat.S_ISDIR(mode):
            yield from _walk_folder(path, on_skipped, on_unread)
        elif stat.S_ISREG(mode):
            yield path
        else:
            on_skipped(path, kind_of(mode))


def _walk_folder(folder: str, on_skipped: Skipped, on_unread: Unread) -> Iterator[str]:
    """Not recursive, as folders may nest deeper than Python does."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            on_unread(path, error)
            continue
        below = []
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path
            else:
                on_skipped(entry.path, _kind_of_entry(entry))
        waiting += reversed(below)


def _kind_of_entry(entry: os.DirEntry[str]) -> str:
    try:
        return kind_of(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return "vanished file"


def kind_of(mode: int) -> str:
    """What is neither a file nor a folder, in words."""
    kinds = {stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


class NotRegular(OSError):
    """What was a file in the walk is none any more."""


def open_body(path: str, spool: Spool, memory_bytes: int) -> Body:
    """The file as a body: read at once up to `memory_bytes`, else left where it is. Its digest is not made yet.

    Raises: OSError.
    """
    # O_NONBLOCK: a pipe that took the file's name since the walk must not hold us up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(0, f"is a {kind_of(status.st_mode)}")
        body = FileBody(spool, descriptor, status.st_size)
    except OSError:
        os.close(descriptor)
        raise
    if status.st_size <= memory_bytes:
        try:
            content = body.read(0, status.st_size)
        finally:
            body.release()
        small = spool.open(memory_bytes)
        small.append(content)
        return small
    return body


class FileBody(Body):
    """A file of somebody else as a body. It is mapped, never copied.

    When the file changes while it is scanned, the scanner sees the change; when it shrinks, the scanner dies of it,
    and the file counts as one that could not be scanned.
    """

    __slots__ = ()

    def __init__(self, spool: Spool, descriptor: int, size_bytes: int) -> None:
        super().__init__(spool, size_bytes)
        spool.bodies += 1
        spool.disk_bytes += size_bytes
        self._on_disk = True
        self._descriptor = descriptor
        self.size_bytes = size_bytes

    def digest_pieces(self) -> Iterator[int]:
        """Reads the file for its digest, a piece at each step. Yields: the size of each piece."""
        for piece in self.pieces():
            self._digest.update(piece)
            yield len(piece)
