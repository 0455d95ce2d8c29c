"""Watches the files and folders that rules and lists are read from (inotify(7)), and says when something has changed.

What is written in several steps is told of once: when nothing more has come for a second, or after five at last.
Twisted's own inotify is not used: it ends all watches when one watched folder is deleted.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from icapd.observe.log import EventLog, EventName
from icapd.reactor import DelayedCall, Reactor

_QUIET_S = 1.0
_LATEST_S = 5.0
_READ_BYTES = 64 * 1024
_EVENT = struct.Struct("iIII")
_OVERFLOW = -1  # the watch of an event that says that others were lost

_IN_CLOSE_WRITE = 0x8
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_MASK = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE

_libc = ctypes.CDLL(None, use_errno=True)


@implementer(IReadDescriptor)
class _Inotify:
    """One inotify descriptor in the reactor. State: `_names` by watch; None where every name counts."""

    def __init__(self, reactor: Reactor, on_change: Callable[[], None]) -> None:
        """Raises: OSError when the user has too many already."""
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._reactor = reactor
        self._on_change = on_change
        self._names: dict[int, set[bytes] | None] = {}
        reactor.addReader(self)

    def watch(self, folder: str, name: str | None) -> None:
        """Raises: OSError."""
        watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if watch < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        names = self._names.setdefault(watch, set())
        if name is None:
            self._names[watch] = None
        elif names is not None:
            names.add(os.fsencode(name))

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "inotify"

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if any(self._counts(watch, name) for watch, name in _events(data)):
            self._on_change()

    def _counts(self, watch: int, name: bytes) -> bool:
        if watch == _OVERFLOW:
            return True
        names = self._names.get(watch, set())
        return names is None or name in names

    def close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._fd)

    def connectionLost(self, reason: object) -> None:
        """The reactor's word that the descriptor is gone."""


def _events(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The watch and the name of each event."""
    at = 0
    while at < len(data):
        watch, _, _, size = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield watch, data[at : at + size].rstrip(b"\0")
        at += size


class RuleWatch:
    """State: `_paths`, watched by `_inotify`; `_since`, when the first change came that was not told of yet."""

    def __init__(self, reactor: Reactor, on_change: Callable[[], object], log: EventLog) -> None:
        self._reactor = reactor
        self._on_change = on_change
        self._log = log
        self._paths: frozenset[str] = frozenset()
        self._inotify: _Inotify | None = None
        self._since = 0.0
        self._timer: DelayedCall | None = None

    def watch(self, paths: Iterable[str]) -> None:
        """Watches these from now on; none, to watch nothing."""
        before, self._paths = self._paths, frozenset(paths)
        if self._paths == before:
            return
        self._log.event(EventName.WATCHING, paths=len(self._paths))
        self._arm()
        if before and self._paths:
            self._changed()  # in new places, before they were watched

    def stop(self) -> None:
        self._paths = frozenset()
        self._arm()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _arm(self) -> None:
        """Watches anew: a folder in the place of another one, or inside one, is not watched yet."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        if not self._paths:
            return
        try:
            self._inotify = _Inotify(self._reactor, self._changed)
            for path in sorted(self._paths):
                _watch(self._inotify, path)
        except OSError as error:
            self._log.event(EventName.WATCH_FAILED, reason=str(error))

    def _changed(self) -> None:
        now = self._reactor.seconds()
        if self._timer is None or not self._timer.active():
            self._since = now
            self._timer = self._reactor.callLater(_QUIET_S, self._tell)
        else:
            self._timer.reset(max(0.0, min(_QUIET_S, self._since + _LATEST_S - now)))

    def _tell(self) -> None:
        """Watches first, reads then: so no change falls between the two."""
        self._arm()
        self._on_change()


def _watch(inotify: _Inotify, path: str) -> None:
    """The path with all that is below it, and what is put in its place; of one whose folder is missing, the nearest
    that is there. Raises: OSError."""
    parent, name = os.path.split(os.path.abspath(path))
    while not os.path.isdir(parent):
        parent, name = os.path.split(parent)
    inotify.watch(parent, name)
    for folder, _, _ in os.walk(path, followlinks=True):
        inotify.watch(folder, None)
