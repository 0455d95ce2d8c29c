"""The writer of lines: in order, whole, bounded, and never in anyone's way."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from icapd.observe.lines import LineWriter
from tests.support.process import wait_until

PIPE_BUF = 4096


class Pipe:
    """A pipe that keeps writes apart: one read gives what one write gave."""

    def __init__(self, *, is_blocking: bool = True) -> None:
        self.reading, self.writing = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        os.set_blocking(self.writing, is_blocking)

    def writes(self, size_bytes: int) -> list[bytes]:
        """The writes that together have at least so many bytes."""
        found: list[bytes] = []
        while sum(map(len, found)) < size_bytes:
            found.append(os.read(self.reading, 1 << 16))
        return found

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            os.close(descriptor)


@pytest.fixture(params=[True, False], ids=["blocking", "non-blocking"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    made = Pipe(is_blocking=request.param)
    yield made
    made.close()


def drained(pipe: Pipe) -> bool:
    """Takes what is in the pipe; whether nobody writes to it any more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(pipe.reading, 1 << 16)
    return not any(thread.name == "lines" for thread in threading.enumerate())


def lines(count: int, width: int = 60) -> bytes:
    return b"".join(b"%06d %b\n" % (number, b"x" * (width - 8)) for number in range(count))


def test_lines_come_out_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        for number in range(500):
            writer.write(b"%d\n" % number)
        writer.close()
    assert path.read_bytes().split() == [b"%d" % number for number in range(500)]
    assert writer.dropped_lines == 0


def test_each_write_to_a_pipe_is_whole_lines_that_cannot_mix(pipe: Pipe) -> None:
    content = lines(3000)
    writer = LineWriter(pipe.writing)
    writer.write(content)
    writes = pipe.writes(len(content))
    writer.close()
    assert b"".join(writes) == content
    assert all(len(write) <= PIPE_BUF and write.endswith(b"\n") for write in writes)
    assert len(writes) < len(content) / PIPE_BUF * 1.1


@pytest.mark.parametrize("size_bytes", [PIPE_BUF - 1, PIPE_BUF, PIPE_BUF + 1, 3 * PIPE_BUF])
def test_a_line_around_the_size_of_an_atomic_write(pipe: Pipe, size_bytes: int) -> None:
    long = b"y" * (size_bytes - 1) + b"\n"
    content = b"before\n" + long + b"after\n"
    writer = LineWriter(pipe.writing)
    writer.write(content)
    writes = pipe.writes(len(content))
    writer.close()
    assert b"".join(writes) == content
    if size_bytes <= PIPE_BUF:
        assert all(write.endswith(b"\n") for write in writes)


def test_a_reader_that_is_stuck_stops_nobody_and_drops_are_counted(pipe: Pipe) -> None:
    limit_bytes = 256 * 1024
    piece = lines(100)
    writer = LineWriter(pipe.writing, limit_bytes)
    started = time.monotonic()
    taken = 0
    while writer.dropped_lines == 0:
        writer.write(piece)
        taken += len(piece)
    for _ in range(50):
        writer.write(piece)
    assert time.monotonic() - started < 5
    dropped = writer.dropped_lines
    assert dropped % 100 == 0
    assert dropped >= 51 * 100 - 100 * (1 << 20) // len(piece)
    kept = taken + 50 * len(piece) - dropped * 60
    assert limit_bytes - len(piece) < kept
    received = b"".join(pipe.writes(kept))
    assert len(received) == kept
    writer.write(b"again\n")
    assert pipe.writes(6)[0] == b"again\n"
    writer.close()
    assert writer.dropped_lines == dropped


def test_the_limit_itself_fits_and_one_byte_more_does_not(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, 1000)
    writer.write(b"a" * 1000 + b"\n")
    assert writer.dropped_lines == 1
    writer.write(b"b" * 999 + b"\n")
    assert pipe.writes(1000) == [b"b" * 999 + b"\n"]
    writer.close()
    assert writer.dropped_lines == 1


def test_closing_writes_what_waits_but_does_not_wait_for_ever(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing)
    writer.write(lines(50_000))
    started = time.monotonic()
    writer.close(within_s=0.1)
    assert time.monotonic() - started < 2
    os.set_blocking(pipe.reading, False)
    wait_until(lambda: drained(pipe), "the thread has gone before its pipe does")


class Told:
    """What the writer says of dropping."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, reason: str, dropped_lines: int) -> None:
        self.calls.append((reason, dropped_lines))


@contextlib.contextmanager
def file_limit(size_bytes: int) -> Iterator[None]:
    """What a full disk is: the write that crosses the limit is cut short, and the next one refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_of_once_and_so_is_its_end(tmp_path: Path) -> None:
    path, told = tmp_path / "log", Told()
    with path.open("wb") as file:
        writer = LineWriter(file.fileno(), on_dropping=told)
        with file_limit(16):
            writer.write(b"one\n")
            writer.write(b"two\nthree\nfour\n")
            wait_until(lambda: writer.dropped_lines == 3, "the lines are counted as dropped")
            writer.write(b"five\n")
            wait_until(lambda: writer.dropped_lines == 4, "the line is counted as dropped")
        writer.write(b"six\nseven\n")
        writer.write(b"eight\n")
        writer.close()

    assert told.calls == [("File too large", 3), ("", 4)]
    assert path.read_bytes() == b"one\ntwo\nthree\nfo\nsix\nseven\neight\n"
    assert writer.dropped_lines == 4


def test_a_stuck_reader_is_told_of_once_and_so_is_its_end(pipe: Pipe) -> None:
    told, piece = Told(), lines(100)
    writer = LineWriter(pipe.writing, 256 * 1024, told)
    sent_bytes = 0
    while writer.dropped_lines < 1000:
        writer.write(piece)
        sent_bytes += len(piece)
    assert told.calls == [("too many lines wait", 100)]
    pipe.writes(sent_bytes - writer.dropped_lines * 60)
    wait_until(lambda: len(told.calls) == 2, "the end is told")
    writer.close()

    assert told.calls[1] == ("", writer.dropped_lines)


def test_a_descriptor_that_fails_costs_its_lines_alone() -> None:
    broken = Pipe()
    os.close(broken.reading)
    writer = LineWriter(broken.writing)
    writer.write(b"one\ntwo\n")
    wait_until(lambda: writer.dropped_lines == 2, "the lines are counted as dropped")
    writer.write(b"three\n")
    writer.close()
    assert writer.dropped_lines == 3
    os.close(broken.writing)
