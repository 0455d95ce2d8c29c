"""The disk tier's directory: shared with other processes, some of which are killed; damaged files; its secret."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from icapd.cache.directory import (
    SET_ASIDE_FILE,
    Opened,
    close_store,
    directory_secret,
    open_store,
    prepare_directory,
)
from icapd.cache.secret import load_secret, prepare_disk
from icapd.config.schema import Cache
from icapd.errors import ConfigurationError
from tests.cache import other_process
from tests.cache.other_process import MAX_BYTES, pending

ONE = pending("one")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "cache"
    prepare_directory(path, with_secret=True)
    return path


def opened(directory: Path, faults: list[str], max_bytes: int = MAX_BYTES) -> Opened:
    return open_store(directory, max_bytes, faults.append)


def fill(directory: Path, entries: int = 300) -> None:
    """A database of more than a few pages, closed in order."""
    mine = opened(directory, [])
    mine.store.write([pending(str(number)) for number in range(entries)])
    close_store(directory, mine)


def entries_after_opening(directory: Path) -> tuple[int, list[str]]:
    faults: list[str] = []
    mine = opened(directory, faults)
    entries = mine.store.usage().entries
    close_store(directory, mine)
    return entries, faults


def test_what_one_process_stores_another_finds(directory: Path) -> None:
    mine = opened(directory, [])
    with other_process.begin(directory, "put", "one"):
        pass
    assert mine.store.get(ONE.name) is not None
    close_store(directory, mine)
    assert entries_after_opening(directory) == (1, [])


def test_a_process_killed_while_it_writes_stops_nobody(directory: Path) -> None:
    mine = opened(directory, [])
    with other_process.begin(directory, "hold") as other:
        other.send_signal(signal.SIGKILL)
    assert mine.store.write([ONE]).stored == 1
    assert mine.store.get(pending("half-written").name) is None
    close_store(directory, mine)
    assert not (directory / "closed").exists()
    assert entries_after_opening(directory) == (1, [])
    assert (directory / "closed").exists()


def test_all_processes_killed_leave_what_was_committed(directory: Path) -> None:
    with other_process.begin(directory, "put", "one"):
        pass
    with other_process.begin(directory, "hold") as other:
        other.send_signal(signal.SIGKILL)
    assert [path.name for path in directory.glob("use.*")] == [f"use.{other.pid}"]
    assert entries_after_opening(directory) == (1, [])
    assert list(directory.glob("use.*")) == []


def test_a_process_killed_beside_others_makes_the_next_look_while_they_write(directory: Path) -> None:
    fill(directory)
    with other_process.begin(directory, "use"):
        with other_process.begin(directory, "hold") as killed:
            killed.send_signal(signal.SIGKILL)
        assert entries_after_opening(directory) == (300, [])


def nothing(data: bytearray) -> None:
    """The file as it is."""


def truncated(data: bytearray) -> None:
    del data[len(data) // 2 :]


def torn(data: bytearray) -> None:
    """Pages of an older transaction among newer ones, as after a loss of power."""
    data[4096 * 8 : 4096 * 24] = data[4096 * 24 : 4096 * 40]


def foreign(data: bytearray) -> None:
    data[:] = b"#!/bin/sh\n" * 5000


def empty(data: bytearray) -> None:
    data.clear()


Damage = Callable[[bytearray], None]


def damage(directory: Path, how: Damage) -> None:
    data = bytearray((directory / "data.mdb").read_bytes())
    how(data)
    (directory / "data.mdb").write_bytes(data)


@pytest.mark.parametrize("how", [truncated, torn, foreign])
def test_a_damaged_database_is_set_aside_and_a_fresh_one_begins(directory: Path, how: Damage) -> None:
    fill(directory)
    damage(directory, how)
    damaged = (directory / "data.mdb").read_bytes()
    entries, [fault] = entries_after_opening(directory)
    assert entries == 0
    assert fault
    assert (directory / SET_ASIDE_FILE).read_bytes() == damaged
    assert entries_after_opening(directory) == (0, [])


def test_an_emptied_file_is_a_fresh_database(directory: Path) -> None:
    fill(directory)
    damage(directory, empty)
    assert entries_after_opening(directory)[0] == 0


def test_a_sound_database_is_looked_through_and_kept(directory: Path) -> None:
    fill(directory)
    damage(directory, nothing)  # its time is another now, so it is not as it was closed
    assert entries_after_opening(directory) == (300, [])


def test_a_database_damaged_while_others_use_it_is_set_aside_for_the_next(directory: Path) -> None:
    fill(directory, 3000)
    with other_process.begin(directory, "use"):
        with other_process.begin(directory, "use") as killed:
            killed.send_signal(signal.SIGKILL)
        os.truncate(directory / "data.mdb", 4096 * 20)
        entries, [fault] = entries_after_opening(directory)
        assert entries == 0
        assert "status -7" in fault or "MDB_" in fault


def test_a_database_larger_than_it_may_be_begins_afresh(directory: Path) -> None:
    fill(directory, 300)
    size_bytes = (directory / "data.mdb").stat().st_size
    faults: list[str] = []
    close_store(directory, opened(directory, faults, size_bytes))
    assert faults == []
    close_store(directory, opened(directory, faults, size_bytes - 1))
    assert faults == ["it is larger than cache.disk.max_bytes"]


def test_one_set_aside_while_it_is_open_is_not_noted_as_closed(directory: Path) -> None:
    mine = opened(directory, [])
    with other_process.begin(directory, "use"):
        (directory / "data.mdb").rename(directory / SET_ASIDE_FILE)
        close_store(directory, mine)
    assert not (directory / "closed").exists()


def test_a_damaged_one_leaves_its_place_when_it_is_closed(directory: Path) -> None:
    mine = opened(directory, [])
    mine.store.write([ONE])
    close_store(directory, mine, is_damaged=True)
    assert (directory / SET_ASIDE_FILE).exists()
    assert entries_after_opening(directory) == (0, [])


def problem_of(directory: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        prepare_directory(directory, with_secret=True)
    [problem] = refused.value.problems
    assert problem.where == "cache.disk.directory"
    return problem.what


def test_the_directory_is_made_and_only_ours(directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "secret").stat().st_mode) == 0o600
    secret = directory_secret(directory)
    prepare_directory(directory, with_secret=True)
    assert directory_secret(directory) == secret
    fill(directory)
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    assert "nobody else may write" in problem_of(directory)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot write" in problem_of(tmp_path / "file")
    assert "Not a directory" in problem_of(tmp_path / "file" / "below")


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """A limit on the length of files stands for a full disk: both refuse the first byte."""
    settings = Cache.model_validate({"disk": {"directory": str(tmp_path / "cache")}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        prepare_disk(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "cache" / "secret").exists()
    assert len(load_secret(settings)) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_may_read_is_refused(directory: Path, mode: int) -> None:
    (directory / "secret").chmod(mode)
    with pytest.raises(ConfigurationError, match="0600"):
        directory_secret(directory)


@pytest.mark.parametrize("size_bytes", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(directory: Path, size_bytes: int) -> None:
    (directory / "secret").write_bytes(b"s" * size_bytes)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        directory_secret(directory)


def test_a_configured_secret_makes_another_needless(tmp_path: Path) -> None:
    (tmp_path / "configured").write_bytes(b"c" * 40)
    settings = Cache.model_validate(
        {"secret_file": str(tmp_path / "configured"), "disk": {"directory": str(tmp_path / "cache")}}
    )
    prepare_disk(settings)
    assert load_secret(settings) == b"c" * 40
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"lock"}


def test_who_only_looks_makes_nothing(tmp_path: Path) -> None:
    settings = Cache.model_validate({"disk": {"directory": str(tmp_path / "cache")}})
    assert len(load_secret(settings)) == 32
    assert list(tmp_path.iterdir()) == []
    prepare_disk(settings)
    assert load_secret(settings) == (tmp_path / "cache" / "secret").read_bytes()
