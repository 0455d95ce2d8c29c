"""Each step of the sandbox alone, in a child that takes it: what one step stops, another cannot be thanked for."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from icapd.worker.frames import SandboxStep
from icapd.worker.sandbox.landlock import prepare_files
from icapd.worker.sandbox.limits import CpuLimit, apply_limits
from icapd.worker.sandbox.privileges import renounce_privileges
from icapd.worker.sandbox.report import sandbox_lines, sandbox_samples
from icapd.worker.sandbox.seccomp import install_filter

OFFERED = "offered"


def in_child(act: Callable[[], object], *, keeps_descriptors: bool = True) -> str | int:
    """What it returns, or why not, as text; the signal that ended it, as a number."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if not keeps_descriptors:
            os.closerange(3, writing)
            writing = os.dup(writing)  # the lowest that is free
            os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            said = str(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else answer


def is_offered(step: Callable[[], str]) -> bool:
    """Whether this kernel takes the step; if not, it must say so by an OSError."""

    def take() -> str:
        renounce_privileges()
        step()
        return OFFERED

    came_of_it = in_child(take)
    assert came_of_it == OFFERED or str(came_of_it).startswith(("OSError", "PermissionError"))
    return came_of_it == OFFERED


def landlocked(readable: list[Path], act: Callable[[], object]) -> str | int:
    """What comes of it under Landlock alone."""

    def run() -> object:
        restrict = prepare_files(map(str, readable))
        renounce_privileges()
        restrict()
        return act()

    return in_child(run)


def filtered(act: Callable[[], object], *, may_open: bool = True) -> str | int:
    """What comes of it under the system-call filter alone."""

    def run() -> object:
        renounce_privileges()
        install_filter(may_open=may_open)
        return act()

    return in_child(run)


@pytest.mark.skipif(not is_offered(prepare_files([])), reason="a kernel without Landlock: the report says so")
class TestLandlock:
    def test_reading_is_allowed_where_it_is_named_and_nowhere_else(self, tmp_path: Path) -> None:
        for folder in ("bodies", "secrets"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "file").write_text(folder)
        bodies = tmp_path / "bodies"

        assert landlocked([bodies], (bodies / "file").read_text) == "bodies"
        assert "Permission denied" in str(landlocked([bodies], (tmp_path / "secrets" / "file").read_text))
        assert "Permission denied" in str(landlocked([bodies], lambda: os.listdir(bodies)))
        assert "Permission denied" in str(landlocked([bodies], lambda: (bodies / "file").write_text("x")))
        assert "Permission denied" in str(landlocked([bodies], (bodies / "file").unlink))

    def test_a_memfd_can_be_opened_again(self) -> None:
        with open(os.memfd_create("body"), "w+b", buffering=0) as body:
            body.write(b"content")
            again = Path(f"/proc/self/fd/{body.fileno()}")
            assert landlocked([], again.read_bytes) == "b'content'"

    def test_no_connection_from_its_abi_4_on(self) -> None:
        restrict = prepare_files([])
        renounced = in_child(lambda: (renounce_privileges(), restrict())[1])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            came_of_it = landlocked([], lambda: socket.create_connection(listener.getsockname(), timeout=5))
        assert ("Permission denied" in str(came_of_it)) is ("TCP" in str(renounced))

    def test_a_path_that_is_not_there_allows_nothing(self, tmp_path: Path) -> None:
        assert "Permission denied" in str(landlocked([tmp_path / "gone"], Path("/etc/passwd").read_text))


@pytest.mark.skipif(
    not is_offered(lambda: install_filter(may_open=True)), reason="a kernel without seccomp: the report says so"
)
class TestSeccomp:
    def test_reading_is_left_to_what_else_guards_files(self) -> None:
        assert filtered(lambda: len(Path("/etc/passwd").read_bytes()) > 0) == "True"
        assert "Permission denied" in str(filtered(Path("/etc/passwd").read_bytes, may_open=False))

    @pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE])
    def test_opening_for_more_than_reading_is_refused(self, tmp_path: Path, flags: int) -> None:
        path = tmp_path / "file"
        path.write_text("kept")
        target = tmp_path if flags == os.O_TMPFILE else path

        assert "Permission denied" in str(filtered(lambda: os.open(target, flags, 0o600)))
        assert path.read_text() == "kept"

    def test_threads_start_and_are_filtered_too(self) -> None:
        def in_thread(act: Callable[[], object]) -> str:
            came_of_it: list[str] = []

            def run() -> None:
                try:
                    came_of_it.append(str(act()))
                except OSError as error:
                    came_of_it.append(str(error))

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            return came_of_it[0]

        assert filtered(lambda: in_thread(lambda: "ran")) == "ran"
        assert "Permission denied" in str(filtered(lambda: in_thread(lambda: os.open("/dev/null", os.O_RDWR))))
        assert filtered(lambda: in_thread(lambda: socket.socket())) == signal.SIGSYS

    def test_signals_to_itself_alone(self) -> None:
        assert filtered(lambda: os.kill(os.getpid(), 0)) == "None"
        assert filtered(lambda: os.kill(os.getpid(), signal.SIGUSR1)) == signal.SIGUSR1
        assert filtered(lambda: os.kill(os.getppid(), 0)) == signal.SIGSYS

    def test_files_are_looked_at_by_descriptor_alone(self) -> None:
        with open("/dev/null", "rb") as file:
            assert str(filtered(lambda: os.fstat(file.fileno()).st_size)) == "0"
        assert "Permission denied" in str(filtered(lambda: os.stat("/dev/null")))


class TestLimits:
    def test_descriptors(self) -> None:
        def open_all() -> int:
            apply_limits(1 << 30)
            last = 0
            with contextlib.suppress(OSError):
                while True:
                    last = os.dup(0)
            return last

        assert in_child(open_all, keeps_descriptors=False) == "63"

    def test_lower_limits_stay(self) -> None:
        def limit() -> str:
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
            apply_limits(1 << 30)
            return str(resource.getrlimit(resource.RLIMIT_NOFILE))

        assert in_child(limit, keeps_descriptors=False) == "(20, 20)"

    def test_a_process_past_its_cpu_time_ends(self) -> None:
        def burn() -> None:
            CpuLimit().allow(0)
            while True:
                pass

        assert in_child(burn) == signal.SIGXCPU

    def test_cpu_time_counts_from_each_task(self) -> None:
        def limits() -> tuple[int, int]:
            limit = CpuLimit()
            limit.allow(10)
            first, _ = resource.getrlimit(resource.RLIMIT_CPU)
            limit.allow(20)
            return first, resource.getrlimit(resource.RLIMIT_CPU)[0]

        first, second = map(int, str(in_child(limits)).strip("()").split(","))
        assert second - first == 10


def test_operators_are_told_the_worst_of_all_fronts() -> None:
    whole = (SandboxStep("limits", True), SandboxStep("landlock", True, "ABI 7"))
    lacking = (SandboxStep("limits", True), SandboxStep("landlock", False, "Function not implemented"))

    assert sandbox_samples([whole, lacking, ()]) == [(("limits",), 1.0), (("landlock",), 0.0)]
    assert sandbox_lines([whole, lacking]) == [
        "sandbox limits: in force",
        "sandbox landlock: not in force (Function not implemented)",
    ]
    assert sandbox_lines([whole])[1] == "sandbox landlock: in force (ABI 7)"
    assert sandbox_lines([()]) == []
