"""Writes lines to a descriptor from a thread, so that a slow disk or a stuck reader never stops a reactor.

Bounded: past `limit_bytes` that wait to be written, further lines are dropped and counted. So are those that the
descriptor refuses. Somebody is told when dropping begins and when it is over.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
from collections.abc import Callable

_PIPE_ATOMIC_BYTES = 4096  # PIPE_BUF: longer writes of several processes to one pipe would mix
_BATCH_BYTES = 256 * 1024
_NEWLINE = ord("\n")

OnDropping = Callable[[str, int], object]
"""Told, from any thread, why dropping begins, or "" when it is over; and how many lines have been dropped so far."""


class LineWriter:
    """State: `dropped_lines`; what waits is in the queue, `_waiting_bytes` of it; `_is_dropping` from the first
    dropped line until all that waits has been written; `_is_line_open` when a write ended in mid-line."""

    def __init__(
        self,
        descriptor: int,
        limit_bytes: int = 16 * 1024 * 1024,
        on_dropping: OnDropping = lambda reason, dropped_lines: None,
    ) -> None:
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self._unit_bytes = _BATCH_BYTES if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIPE_ATOMIC_BYTES
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._is_stopping = False
        self._on_dropping = on_dropping
        self._is_dropping = False
        self._is_line_open = False
        self.dropped_lines = 0
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Takes whole lines, each with its newline; returns at once."""
        with self._lock:
            is_taken = self._waiting_bytes + len(lines) <= self._limit_bytes
            if is_taken:
                self._waiting_bytes += len(lines)
        if is_taken:
            self._queue.put(lines)
        else:
            self._drop(lines.count(b"\n"), "too many lines wait")

    def close(self, within_s: float = 2.0) -> None:
        """Writes what waits, but for no longer than `within_s`."""
        self._queue.put(None)
        self._thread.join(within_s)
        self._is_stopping = True

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            is_written = self._write_all(lines)
            with self._lock:
                self._waiting_bytes -= len(lines)
                is_over = self._is_dropping and is_written and self._waiting_bytes == 0
                self._is_dropping &= not is_over
            if is_over:
                self._on_dropping("", self.dropped_lines)

    def _drop(self, count: int, reason: str) -> None:
        with self._lock:
            self.dropped_lines += count
            begins, self._is_dropping = not self._is_dropping, True
        if begins:
            self._on_dropping(reason, self.dropped_lines)

    def _write_all(self, lines: bytes) -> bool:
        """Writes in units that end with a line, as large as the descriptor takes at once.

        Returns: whether all of it went.
        """
        start = 0
        while start < len(lines):
            end = len(lines)
            if end - start > self._unit_bytes:
                end = lines.rfind(b"\n", start, start + self._unit_bytes) + 1
                if end <= start:
                    end = lines.index(b"\n", start) + 1
            if failure := self._write_unit(lines[start:end]):
                self._drop(lines.count(b"\n", start), failure)
                return False
            start = end
        return True

    def _write_unit(self, unit: bytes) -> str:
        """Returns: why it could not be written, or "". After half a line it begins with a line of its own."""
        view = memoryview(b"\n" + unit if self._is_line_open else unit)
        while view:
            try:
                written = os.write(self._descriptor, view)
            except BlockingIOError:
                select.select([], [self._descriptor], [], 1.0)
                if self._is_stopping:
                    return "the reader is stuck"
            except OSError as error:
                return error.strerror or str(error)
            else:
                self._is_line_open = view[written - 1] != _NEWLINE
                view = view[written:]
        return ""
