"""Where a body stays while it is judged: memory, then a memfd, then an unlinked file. SHA-256 runs along.

The spool never parses a byte. Its totals are one front's; each body knows its own ceilings.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator

from icapd.config.schema import SpoolTable
from icapd.errors import BodyTooLarge, SpoolFull

_READ_BYTES = 256 * 1024
_LOOSE_PIECES = 64
"""Pieces kept as they came. A bytes object costs 40 bytes beside its content: chunks of two bytes, kept one by one,
would take 22 times what is booked for them."""


class Spool:
    """The totals of one front.

    State: `memory_bytes` and `disk_bytes` in use by open bodies; both go back to 0 when all are closed.
    """

    def __init__(self, settings: SpoolTable) -> None:
        self.settings = settings
        self.memory_bytes = 0
        self.disk_bytes = 0
        self.bodies = 0

    def open(self, limit_bytes: int) -> Body:
        """A new, empty body that takes up to `limit_bytes`."""
        self.bodies += 1
        return Body(self, limit_bytes)


class Body:
    """One body, written once from front to back, then read.

    State: while `_descriptor` is None the content is in `_pieces`, of which the first `_joined` were made of many;
    afterwards it is in the file alone. References are counted, as a scan that several transactions wait for outlives
    the one that brought the body.
    """

    __slots__ = (
        "_descriptor",
        "_digest",
        "_joined",
        "_limit_bytes",
        "_on_disk",
        "_pieces",
        "_references",
        "_spool",
        "size_bytes",
    )

    def __init__(self, spool: Spool, limit_bytes: int) -> None:
        self._spool = spool
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._joined = 0
        self._descriptor: int | None = None
        self._on_disk = False
        self._digest = hashlib.sha256()
        self._references = 1
        self.size_bytes = 0

    def append(self, data: bytes) -> None:
        """Adds data.

        Raises: BodyTooLarge past the body's ceiling, SpoolFull past the totals or when the disk refuses. What was
        appended before stays readable.
        """
        added = len(data)
        size = self.size_bytes + added
        if size > self._limit_bytes:
            raise BodyTooLarge(f"more than {self._limit_bytes} bytes")
        spool, pieces = self._spool, self._pieces
        settings, booked = spool.settings, spool.memory_bytes + added
        if self._descriptor is None and size <= settings.memory_bytes and booked <= settings.total_memory_bytes:
            spool.memory_bytes = booked  # most bodies: they stay where they are
        else:
            self._place(size, added)
        if self._descriptor is None:
            pieces.append(data)
            if len(pieces) - self._joined > _LOOSE_PIECES:
                self._join_tail()
        else:
            self._write(data)
        self.size_bytes = size
        self._digest.update(data)

    def _join_tail(self) -> None:
        self._pieces[self._joined :] = [b"".join(self._pieces[self._joined :])]
        self._joined += 1

    def _place(self, size: int, added: int) -> None:
        """Moves the body to where `size` bytes belong, and books them."""
        spool, settings = self._spool, self._spool.settings
        fits_memory = spool.memory_bytes + added <= settings.total_memory_bytes
        if not self._on_disk and size <= settings.memfd_bytes and fits_memory:
            if size > settings.memory_bytes and self._descriptor is None:
                self._move_to(_memfd())
            spool.memory_bytes += added
            return
        on_disk = added if self._on_disk else size
        if spool.disk_bytes + on_disk > settings.total_disk_bytes:
            raise SpoolFull("spool.total_disk_bytes is used up")
        if not self._on_disk:
            self._move_to_disk()
        spool.disk_bytes += added

    def _move_to_disk(self) -> None:
        spool = self._spool
        try:
            descriptor = _unlinked_file(spool.settings.directory)
        except OSError as error:
            raise SpoolFull(f"{spool.settings.directory}: {error.strerror}") from error
        self._move_to(descriptor)
        spool.memory_bytes -= self.size_bytes
        spool.disk_bytes += self.size_bytes
        self._on_disk = True

    def _move_to(self, descriptor: int) -> None:
        """Copies what is there into the file; on failure the body stays where it was."""
        try:
            for piece in self.pieces():
                _write_all(descriptor, piece)
        except OSError as error:
            os.close(descriptor)
            raise SpoolFull(str(error.strerror)) from error
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._pieces = []

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            if self._on_disk:
                self._spool.disk_bytes -= len(data)
            else:
                self._spool.memory_bytes -= len(data)
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size_bytes)
                os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
            raise SpoolFull(str(error.strerror)) from error

    def sha256(self) -> bytes:
        """The digest of all that was appended, 32 bytes."""
        return self._digest.digest()

    @property
    def is_in_memory(self) -> bool:
        """Whether `content` costs no copy from a file."""
        return self._descriptor is None

    def content(self) -> bytes:
        """The whole body as bytes. For bodies that are known to be small."""
        if self._descriptor is None:
            if len(self._pieces) > 1:
                self._pieces = [b"".join(self._pieces)]
                self._joined = 1
            return self._pieces[0] if self._pieces else b""
        return self.read(0, self.size_bytes)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `offset`; empty at the end."""
        if self._descriptor is None:
            return self.content()[offset : offset + size_bytes]
        return os.pread(self._descriptor, min(size_bytes, max(0, self.size_bytes - offset)), offset)

    def pieces(self) -> Iterator[bytes]:
        """The whole body in order, in pieces."""
        if self._descriptor is None:
            yield from self._pieces
            return
        offset = 0
        while piece := self.read(offset, _READ_BYTES):
            yield piece
            offset += len(piece)

    def descriptor(self) -> int:
        """A descriptor with the whole content, for a scanner to map; it stays the body's own. Raises: SpoolFull."""
        if self._descriptor is None:
            self._move_to(_memfd())
        if self._descriptor is None:
            raise SpoolFull("no memfd")
        return self._descriptor

    def retain(self) -> Body:
        """One more user; each calls `release` once."""
        self._references += 1
        return self

    def release(self) -> None:
        """One user less; the last one frees the memory and the file."""
        self._references -= 1
        if self._references:
            return
        spool = self._spool
        spool.bodies -= 1
        if self._on_disk:
            spool.disk_bytes -= self.size_bytes
        else:
            spool.memory_bytes -= self.size_bytes
        self._pieces = []
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _memfd() -> int:
    """An empty memfd. Raises: SpoolFull, as when no descriptor is left."""
    try:
        return os.memfd_create("icapd-body", os.MFD_CLOEXEC)
    except OSError as error:
        raise SpoolFull(f"memfd: {error.strerror}") from error


def _unlinked_file(directory: str) -> int:
    """A file that has no name, so that nothing is left behind however we end. Raises: OSError.

    Every user may read it, and none can find it: scanners of another user open it again.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        # EOPNOTSUPP, EINVAL, or a folder to older kernels: no O_TMPFILE here
        if error.errno not in (95, 22) and not isinstance(error, IsADirectoryError):
            raise
        descriptor, path = tempfile.mkstemp(prefix=".icapd-", dir=directory)
        os.unlink(path)
    os.fchmod(descriptor, 0o644)
    return descriptor
