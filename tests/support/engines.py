"""An engine that does what a body orders, so that tests can have any accident in a real scanner process.

A body that begins with `!puppet WORD ARGUMENT`, up to the end of the line, is an order; on any other the engine finds
nothing. Child processes find the engine as they find every other one: by an entry point of a package on their path.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from icapd.plugins import GROUP
from icapd.scan.engine_api import EngineOptions, EngineSpec
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity
from tests.support.attacks import ATTACKS
from tests.support.gates import Gates, make_gates

NAME: Final = "puppet"
ROOT: Final = Path(__file__).parents[2]

_ORDER: Final = b"!puppet "
_POLL_S: Final = 0.002
_PIECE_BYTES: Final = 1024 * 1024


def order(word: str, argument: object = "", filling_bytes: int = 0) -> bytes:
    """A body that orders the engine; bodies with different filling are different bodies with the same order."""
    return f"!puppet {word} {argument}\n".encode() + b"." * filling_bytes


def engines_path(folder: Path) -> str:
    """Makes an installed package of this engine in `folder`; returns the PYTHONPATH that makes it known."""
    package = folder / "icapd_puppet-1.dist-info"
    package.mkdir(parents=True)
    make_gates(folder)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: icapd-puppet\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[{GROUP}]\n{NAME} = tests.support.engines:SPEC\n")
    return os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


class Puppet:
    """Does what it is told, as badly as that may be."""

    name = NAME

    def __init__(self) -> None:
        self._gates = Gates()
        self._acts: dict[str, Callable[[str, Budget], EngineReport]] = {
            name.removeprefix("_do_").replace("_", "-"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_do_")
        }

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        line = sample.head(4096).partition(b"\n")[0]
        if not line.startswith(_ORDER):
            return _report(Outcome.NOTHING_FOUND)
        word, _, argument = line.removeprefix(_ORDER).decode("utf-8", "surrogateescape").partition(" ")
        if word == "deface":
            return _deface(sample)
        return self._acts[word](argument, budget)

    def _do_find(self, argument: str, budget: Budget) -> EngineReport:
        """A finding of that name."""
        return _found(argument)

    def _do_pid(self, argument: str, budget: Budget) -> EngineReport:
        """A finding named like the process."""
        return _found(str(os.getpid()))

    def _do_wait(self, argument: str, budget: Budget) -> EngineReport:
        """Nothing, once the gate of that name is open; minds the deadline."""
        while not self._gates.is_open(argument):
            budget.check_time()
            time.sleep(_POLL_S)
        return _report(Outcome.NOTHING_FOUND)

    def _do_sleep(self, argument: str, budget: Budget) -> EngineReport:
        """Nothing, after so many seconds; what follows the number makes one such body another than the next."""
        time.sleep(float(argument.split()[0]))
        return _report(Outcome.NOTHING_FOUND)

    def _do_write(self, argument: str, budget: Budget) -> EngineReport:
        """Leaves something in a file of that name."""
        with open(argument, "wb", buffering=0) as file:
            file.write(b"x")
        return _report(Outcome.NOTHING_FOUND)

    def _do_attack(self, argument: str, budget: Budget) -> EngineReport:
        """What no scanner should be able to do. A finding with what came of it; FAILED when the kernel refused."""
        word, _, target = argument.partition(" ")
        return _found(str(ATTACKS[word](target)))

    def _do_decode(self, argument: str, budget: Budget) -> EngineReport:
        """Uses an encoding that a body names."""
        return _found(b"text".decode(argument))

    def _do_descriptors(self, argument: str, budget: Budget) -> EngineReport:
        """What kind of file each open descriptor is of."""
        kinds = []
        for number in range(1024):
            with contextlib.suppress(OSError):
                mode = os.fstat(number).st_mode
                kinds.append("socket" if stat.S_ISSOCK(mode) else "device" if stat.S_ISCHR(mode) else "file")
        return _found(" ".join(kinds))

    def _do_abort(self, argument: str, budget: Budget) -> EngineReport:
        os.abort()

    def _do_segv(self, argument: str, budget: Budget) -> EngineReport:
        """What native code does with a wild pointer."""
        ctypes.string_at(0)
        raise AssertionError("address 0 can be read")

    def _do_stop(self, argument: str, budget: Budget) -> EngineReport:
        """The whole process stands still, as in a system call that does not return."""
        os.kill(os.getpid(), signal.SIGSTOP)
        return _report(Outcome.NOTHING_FOUND)

    def _do_exit(self, argument: str, budget: Budget) -> EngineReport:
        os._exit(int(argument))

    def _do_raise(self, argument: str, budget: Budget) -> EngineReport:
        raise RuntimeError(argument)

    def _do_leave(self, argument: str, budget: Budget) -> EngineReport:
        """A BaseException that is not the budget's."""
        raise SystemExit(argument)

    def _do_hang(self, argument: str, budget: Budget) -> EngineReport:
        """Ignores its deadline, and whatever is raised to end it."""
        while True:
            try:
                time.sleep(60)
            except BaseException:
                continue

    def _do_eat(self, argument: str, budget: Budget) -> EngineReport:
        """Takes memory until there is none."""
        pieces = []
        while True:
            pieces.append(b"x" * _PIECE_BYTES)

    def _do_eat_and_hang(self, argument: str, budget: Budget) -> EngineReport:
        """The same, and stays in spite of it."""
        pieces = []
        while True:
            try:
                pieces.append(b"x" * _PIECE_BYTES)
            except MemoryError:
                time.sleep(_POLL_S)

    def _do_none(self, argument: str, budget: Budget) -> EngineReport:
        return cast(EngineReport, None)

    def _do_wrong_outcome(self, argument: str, budget: Budget) -> EngineReport:
        return _report(cast(Outcome, "SPLENDID"))

    def _do_wrong_kind(self, argument: str, budget: Budget) -> EngineReport:
        return _found("x", kind="splendid")

    def _do_wrong_name(self, argument: str, budget: Budget) -> EngineReport:
        return _found(cast(str, 42))

    def _do_object(self, argument: str, budget: Budget) -> EngineReport:
        """What cannot be encoded."""
        return _found("x", severity=object())

    def _do_surrogate(self, argument: str, budget: Budget) -> EngineReport:
        """Text that is no Unicode: what a careless engine makes of a member's name."""
        return _found("bad\udcff")

    def _do_verbose(self, argument: str, budget: Budget) -> EngineReport:
        """More findings with longer names than a packet takes."""
        return EngineReport(
            NAME,
            Outcome.FOUND,
            tuple(_finding(f"{number}-{'n' * 1000}", trail=("m" * 1000,) * 40) for number in range(256)),
        )


def _deface(sample: Sample) -> EngineReport:
    """Writes into the file of the body."""
    assert sample.descriptor is not None
    with mmap.mmap(sample.descriptor, 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as content:
        content[:1] = b"?"
    return _report(Outcome.NOTHING_FOUND)


def _report(outcome: Outcome) -> EngineReport:
    return EngineReport(NAME, outcome)


def _finding(name: str, **fields: Any) -> Finding:
    return Finding(**{"kind": FindingKind.MALWARE, "name": name, "engine": NAME, "severity": Severity.HIGH, **fields})


def _found(name: str, **fields: Any) -> EngineReport:
    return EngineReport(NAME, Outcome.FOUND, (_finding(name, **fields),))


SPEC: Final = EngineSpec(
    NAME, EngineOptions, lambda options, resolve: {}, lambda options, material: Puppet(), lambda: "1"
)
