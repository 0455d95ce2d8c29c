"""The disk tier's directory: who uses it, whether what lies in it can be trusted, and its secret.

    data.mdb, lock.mdb   the database and LMDB's own locks
    use.PID              one for each process that has it open, locked by that process
    closed               size and time of data.mdb when the last user closed it in order; absent while it is in use
    lock                 held while somebody opens or closes
    secret               signs records where no cache.secret_file is configured
    data.mdb.set-aside   the last database that could not be used

The first to open a database that was not closed in order has every page of it checked, and whoever comes after a
process that was killed has it read once. One that fails is set aside, and a fresh one begins.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from icapd.cache.record import MIN_SECRET_BYTES
from icapd.cache.store import DAMAGE, DATA_FILE, LOCK_FILE, ForeignStore, VerdictStore
from icapd.cache.verified import fault_of
from icapd.errors import ConfigurationError, Problem

KEY_FILE = "secret"
SET_ASIDE_FILE = "data.mdb.set-aside"
_CLOSED_FILE = "closed"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Tell = Callable[[str], None]
"""Told why a database was set aside."""


class Opened(NamedTuple):
    """A database and the locked mark that says we use it."""

    store: VerdictStore
    mark_fd: int


def prepare_directory(path: Path, *, with_secret: bool) -> None:
    """Makes the directory if it is missing, and sees that it is ours alone and can be written.

    A full disk is no reason not to start: the tier goes without writing until there is room.

    Raises: ConfigurationError.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _problem(f"{path} must belong to the user who runs icapd, and nobody else may write to it")
        with _locked(path):
            secret = path / KEY_FILE
            made = _make_file(path / "secret.new", os.urandom(MIN_SECRET_BYTES))
            if with_secret and not secret.exists():
                made.rename(secret)
            made.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise _problem(f"cannot write to {path}: {error.strerror}") from error


def directory_secret(path: Path) -> bytes | None:
    """The secret that was made for this directory, if there is one.

    Raises: ConfigurationError for one that others may read, that cannot be read, or has another length.
    """
    file = path / KEY_FILE
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            secret = opened.read(MIN_SECRET_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _problem(f"{file} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) or len(secret) != MIN_SECRET_BYTES:
        raise _problem(f"{file} must have mode 0600 and {MIN_SECRET_BYTES} bytes; if it is removed, one is made anew")
    return secret


def open_store(path: Path, max_bytes: int, tell: Tell) -> Opened:
    """The database in a prepared directory, checked as far as its past demands. Waits for others who open or close.

    Raises: OSError and lmdb.Error when it cannot be opened; DAMAGE and ForeignStore never.
    """
    with _locked(path):
        living, dead = _marks(path)
        if fault := _fault(path, max_bytes, in_use=bool(living), was_killed=bool(dead)):
            set_aside(path)
            tell(fault)
        for gone in (*dead, path / _CLOSED_FILE):
            gone.unlink(missing_ok=True)
        try:
            store = VerdictStore(path, max_bytes)
        except (*DAMAGE, ForeignStore) as error:
            set_aside(path)
            tell(str(error))
            store = VerdictStore(path, max_bytes)
        try:
            return Opened(store, _mark(path))
        except OSError:
            store.close()
            raise


def close_store(path: Path, opened: Opened, *, is_damaged: bool = False) -> None:
    """The opposite of `open_store`. A damaged database is set aside; else the last user notes that it was closed.

    Raises: OSError and lmdb.Error; the database is closed nevertheless.
    """
    try:
        with _locked(path):
            is_replaced = opened.store.is_replaced
            if is_damaged and not is_replaced:
                set_aside(path)
            opened.store.close(is_damaged=is_damaged)
            _use_file(path).unlink(missing_ok=True)
            living, dead = _marks(path)
            if not (is_replaced or is_damaged or living or dead):
                _make_file(path / _CLOSED_FILE, _as_closed(path))
    finally:
        os.close(opened.mark_fd)


def set_aside(path: Path) -> None:
    """Takes the database away from its name. Who has it open goes on with it until they look (`is_replaced`)."""
    with contextlib.suppress(FileNotFoundError):
        (path / DATA_FILE).replace(path / SET_ASIDE_FILE)
    (path / LOCK_FILE).unlink(missing_ok=True)


def _fault(path: Path, max_bytes: int, *, in_use: bool, was_killed: bool) -> str | None:
    try:
        as_is = _as_closed(path)
    except FileNotFoundError:
        return None
    if in_use:
        return fault_of(path, max_bytes, in_use=True) if was_killed else None
    if (path / DATA_FILE).stat().st_size > max_bytes:
        return "it is larger than cache.disk.max_bytes"
    with contextlib.suppress(FileNotFoundError):
        if (path / _CLOSED_FILE).read_bytes() == as_is:
            return None
    return fault_of(path, max_bytes, in_use=False)


def _as_closed(path: Path) -> bytes:
    status = (path / DATA_FILE).stat()
    return b"%d %d\n" % (status.st_size, status.st_mtime_ns)


def _use_file(path: Path) -> Path:
    return path / f"use.{os.getpid()}"


def _mark(path: Path) -> int:
    descriptor = os.open(_use_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _marks(path: Path) -> tuple[list[Path], list[Path]]:
    """The marks of processes that live, and of those that ended without a word."""
    living: list[Path] = []
    dead: list[Path] = []
    for mark in path.glob("use.*"):
        with mark.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                living.append(mark)
            else:
                dead.append(mark)
    return living, dead


def _make_file(path: Path, data: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _problem(what: str) -> ConfigurationError:
    return ConfigurationError([Problem("cache.disk.directory", what)])
