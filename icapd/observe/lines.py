"""Writes lines to a descriptor from a thread, so that a slow disk or a stuck reader never stops a reactor.

Bounded: past `limit_bytes` that wait to be written, further lines are dropped and counted.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading

_PIPE_ATOMIC_BYTES = 4096  # PIPE_BUF: longer writes of several processes to one pipe would mix
_BATCH_BYTES = 256 * 1024


class LineWriter:
    """State: `dropped_lines`; what waits is in the queue, `_waiting_bytes` of it."""

    def __init__(self, descriptor: int, limit_bytes: int = 16 * 1024 * 1024) -> None:
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self._unit_bytes = _BATCH_BYTES if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIPE_ATOMIC_BYTES
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._is_stopping = False
        self.dropped_lines = 0
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Takes whole lines, each with its newline; returns at once."""
        with self._lock:
            if self._waiting_bytes + len(lines) > self._limit_bytes:
                self.dropped_lines += lines.count(b"\n")
                return
            self._waiting_bytes += len(lines)
        self._queue.put(lines)

    def close(self, within_s: float = 2.0) -> None:
        """Writes what waits, but for no longer than `within_s`."""
        self._queue.put(None)
        self._thread.join(within_s)
        self._is_stopping = True

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            self._write_all(lines)
            with self._lock:
                self._waiting_bytes -= len(lines)

    def _write_all(self, lines: bytes) -> None:
        """Writes in units that end with a line, as large as the descriptor takes at once."""
        start = 0
        while start < len(lines):
            end = len(lines)
            if end - start > self._unit_bytes:
                end = lines.rfind(b"\n", start, start + self._unit_bytes) + 1
                if end <= start:
                    end = lines.index(b"\n", start) + 1
            if not self._write_unit(lines[start:end]):
                self.dropped_lines += lines.count(b"\n", start)
                return
            start = end

    def _write_unit(self, unit: bytes) -> bool:
        view = memoryview(unit)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], 1.0)
                if self._is_stopping:
                    return False
            except OSError:
                return False
        return True
