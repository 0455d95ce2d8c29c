"""The spool: where a body stays, what it may use, and that all of it is given back."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.config.schema import MiB, SpoolTable
from icapd.errors import BodyTooLarge, SpoolFull
from icapd.scan.spool import Body, Spool

MEMORY = 100
MEMFD = 1000
FAR = 1 << 40


def make_spool(directory: Path, **totals: int) -> Spool:
    return Spool(SpoolTable(memory_bytes=MEMORY, memfd_bytes=MEMFD, directory=str(directory), **totals))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = make_spool(tmp_path)
    descriptors = open_descriptors()
    yield made
    assert (made.memory_bytes, made.disk_bytes, made.bodies) == (0, 0, 0)
    assert open_descriptors() == descriptors
    assert list(tmp_path.iterdir()) == []


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def bytes_of(size_bytes: int) -> bytes:
    return (b"0123456789abcdef" * (size_bytes // 16 + 1))[:size_bytes]


def place(body: Body) -> str:
    """Where the body is: from what the kernel says of its descriptor."""
    if body.is_in_memory:
        return "memory"
    return "memfd" if "memfd:" in os.readlink(f"/proc/self/fd/{body.descriptor()}") else "disk"


@pytest.mark.parametrize(("pieces", "kept"), [(64, 64), (65, 1), (65 + 64, 65), (2 * 65, 2)])
def test_tiny_pieces_are_joined(tmp_path: Path, pieces: int, kept: int) -> None:
    body = Spool(SpoolTable(directory=str(tmp_path))).open(FAR)
    content = bytes_of(2 * pieces)
    for start in range(0, len(content), 2):
        body.append(content[start : start + 2])
    assert (body.is_in_memory, len(list(body.pieces()))) == (True, kept)
    assert b"".join(body.pieces()) == content
    assert (body.content(), body.sha256()) == (content, hashlib.sha256(content).digest())
    body.release()


def test_tiny_pieces_cost_what_is_booked_for_them(tmp_path: Path) -> None:
    spool = Spool(SpoolTable(directory=str(tmp_path)))
    body = spool.open(FAR)
    for number in range(100_000):
        body.append(b"%02d" % (number % 100))
        if number == 1000:
            body.read(0, 1)  # as a drip does: all is joined meanwhile
    assert body.is_in_memory
    assert sum(map(sys.getsizeof, body.pieces())) < 1.5 * spool.memory_bytes
    body.release()


@pytest.mark.parametrize(
    ("size_bytes", "where"),
    [(0, "memory"), (MEMORY, "memory"), (MEMORY + 1, "memfd"), (MEMFD, "memfd"), (MEMFD + 1, "disk")],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 5000])
def test_a_body_stays_where_its_size_belongs(spool: Spool, size_bytes: int, where: str, piece_bytes: int) -> None:
    content = bytes_of(size_bytes)
    body = spool.open(FAR)
    for start in range(0, size_bytes, piece_bytes):
        body.append(content[start : start + piece_bytes])
    on_disk = size_bytes if where == "disk" else 0
    assert place(body) == where
    assert (spool.memory_bytes, spool.disk_bytes) == (size_bytes - on_disk, on_disk)
    assert (body.size_bytes, body.content(), b"".join(body.pieces())) == (size_bytes, content, content)
    body.release()


@given(
    sizes=st.lists(st.integers(0, 400), max_size=12),
    reads=st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 900)), max_size=5),
)
def test_reading_gives_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reads: list[tuple[int, int]]
) -> None:
    spool = make_spool(tmp_path_factory.getbasetemp())
    body = spool.open(FAR)
    expected = b""
    for number, size_bytes in enumerate(sizes):
        piece = bytes([number]) * size_bytes
        body.append(piece)
        expected += piece
        assert spool.memory_bytes + spool.disk_bytes == body.size_bytes == len(expected)
        for offset, count in reads:
            assert body.read(offset, count) == expected[offset : offset + count]
    assert body.content() == expected
    assert body.sha256() == hashlib.sha256(expected).digest()
    body.release()
    assert (spool.memory_bytes, spool.disk_bytes, spool.bodies) == (0, 0, 0)


@pytest.mark.parametrize("limit_bytes", [0, 1, MEMORY, MEMFD, MEMFD + 500])
def test_a_bodys_ceiling_at_the_limit_and_one_past_it(spool: Spool, limit_bytes: int) -> None:
    body = spool.open(limit_bytes)
    body.append(bytes_of(limit_bytes))
    with pytest.raises(BodyTooLarge, match=str(limit_bytes)):
        body.append(b"+")
    assert (body.size_bytes, body.content()) == (limit_bytes, bytes_of(limit_bytes))
    body.release()


def test_past_the_memory_total_bodies_go_to_disk_however_small(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, total_memory_bytes=1 * MiB)
    bodies = [spool.open(FAR) for _ in range(MiB // MEMFD + 1)]
    for body in bodies:
        body.append(bytes_of(MEMFD))
    assert {place(body) for body in bodies[:-1]} == {"memfd"}
    assert place(bodies[-1]) == "disk"
    assert spool.memory_bytes == (len(bodies) - 1) * MEMFD
    last = spool.open(FAR)
    last.append(bytes_of(MiB - spool.memory_bytes))
    assert (place(last) != "disk", spool.memory_bytes) == (True, MiB)
    last.append(b"+")
    assert (place(last), last.content()[-1:], spool.memory_bytes) == ("disk", b"+", (len(bodies) - 1) * MEMFD)
    for body in (*bodies, last):
        body.release()
    assert (spool.memory_bytes, spool.disk_bytes, spool.bodies) == (0, 0, 0)


def test_the_disk_total_at_the_limit_and_one_past_it(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, total_disk_bytes=3000)
    first, second = spool.open(FAR), spool.open(FAR)
    first.append(bytes_of(2000))
    second.append(bytes_of(MEMFD))
    with pytest.raises(SpoolFull, match="total_disk_bytes"):
        second.append(b"+")
    assert (place(second), second.content()) == ("memfd", bytes_of(MEMFD))
    first.append(bytes_of(1000))
    with pytest.raises(SpoolFull, match="total_disk_bytes"):
        first.append(b"+")
    assert (spool.memory_bytes, spool.disk_bytes) == (MEMFD, 3000)
    first.release()
    second.append(b"+")
    assert (place(second), spool.disk_bytes) == ("disk", MEMFD + 1)
    second.release()
    assert (spool.memory_bytes, spool.disk_bytes, spool.bodies) == (0, 0, 0)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "nowhere")
    body = spool.open(FAR)
    body.append(bytes_of(MEMFD))
    with pytest.raises(SpoolFull, match="No such file or directory"):
        body.append(b"+")
    assert (place(body), body.content(), spool.memory_bytes) == ("memfd", bytes_of(MEMFD), MEMFD)
    body.release()
    assert (spool.memory_bytes, spool.disk_bytes) == (0, 0)


@pytest.mark.parametrize("refusal", [OSError(errno.EOPNOTSUPP, "x"), OSError(errno.EINVAL, "x"), IsADirectoryError()])
def test_a_file_system_without_nameless_files(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, refusal: OSError, tmp_path: Path
) -> None:
    """overlayfs and NFS have no O_TMPFILE: then the file loses its name at once."""
    real_open = os.open

    def without_tmpfile(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise refusal
        return real_open(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", without_tmpfile)
    body = spool.open(FAR)
    body.append(bytes_of(5000))
    assert list(tmp_path.iterdir()) == []
    assert (place(body), body.content()) == ("disk", bytes_of(5000))
    body.release()


def test_another_refusal_of_the_file_system_is_one(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    body = spool.open(FAR)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(SpoolFull, match="Permission denied"):
            body.append(bytes_of(5000))
    assert (body.size_bytes, spool.memory_bytes, spool.disk_bytes) == (0, 0, 0)
    body.release()


FULL_DISK = """
import resource, signal, sys
from icapd.config.schema import SpoolTable
from icapd.errors import SpoolFull
from icapd.scan.spool import Spool

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
spool = Spool(SpoolTable(memory_bytes=100, memfd_bytes=1000, directory=sys.argv[1]))
body = spool.open(1 << 40)
for piece in (b"a" * 900, b"b" * 4000):
    body.append(piece)
for _ in range(2):
    try:
        body.append(b"c" * 200)
    except SpoolFull as full:
        print(full)
assert body.content() == b"a" * 900 + b"b" * 4000, len(body.content())
assert (spool.memory_bytes, spool.disk_bytes) == (0, 4900)
body.append(b"d" * 100)
assert body.content()[4890:] == b"b" * 10 + b"d" * 100
second = spool.open(1 << 40)
try:
    second.append(b"e" * 6000)
except SpoolFull as full:
    print(full)
assert (second.size_bytes, spool.disk_bytes) == (0, 5000), spool.disk_bytes
body.release()
second.release()
assert (spool.memory_bytes, spool.disk_bytes, spool.bodies) == (0, 0, 0)
"""


def test_a_disk_that_refuses_keeps_what_it_took(tmp_path: Path) -> None:
    """In a child whose files end at 5,000 bytes: the write that does not fit is taken back, a smaller one goes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["File too large"] * 3


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(name) for name in os.listdir("/proc/self/fd")), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("size_bytes", [MEMORY + 1, MEMFD + 1], ids=["memfd", "disk"])
def test_without_a_descriptor_a_body_is_refused_and_stays_as_it_was(spool: Spool, size_bytes: int) -> None:
    body = spool.open(FAR)
    body.append(b"kept")
    with no_descriptor_left(), pytest.raises(SpoolFull, match="Too many open files"):
        body.append(bytes_of(size_bytes))
    assert (body.content(), spool.memory_bytes, spool.disk_bytes) == (b"kept", 4, 0)
    body.release()


def test_without_a_descriptor_a_scanner_gets_none(spool: Spool) -> None:
    body = spool.open(FAR)
    body.append(b"kept")
    with no_descriptor_left(), pytest.raises(SpoolFull, match="Too many open files"):
        body.descriptor()
    assert body.content() == b"kept"
    body.release()


def test_a_small_body_gets_a_descriptor_when_a_scanner_wants_one(spool: Spool) -> None:
    body = spool.open(FAR)
    body.append(b"small")
    descriptor = body.descriptor()
    assert os.pread(descriptor, 100, 0) == b"small"
    assert body.descriptor() == descriptor
    body.append(b" and more")
    assert (body.content(), os.pread(descriptor, 100, 0)) == (b"small and more", b"small and more")
    body.release()


def test_the_last_release_frees(spool: Spool) -> None:
    body = spool.open(FAR)
    body.append(bytes_of(MEMFD + 1))
    body.retain().release()
    body.retain()
    body.release()
    assert (spool.bodies, spool.disk_bytes, body.content()) == (1, MEMFD + 1, bytes_of(MEMFD + 1))
    body.release()
    assert (spool.bodies, spool.disk_bytes) == (0, 0)
