"""What a scanner cannot do, whatever a body makes of it: the steps it takes between its fork and its first task.

Each step says whether the kernel put it in force. One that is not is told to operators, and costs nothing but itself;
`scanners.sandbox = "required"` makes it stop the start.

    limits      memory, CPU time, file size, descriptors              limits.py
    user        an ordinary user, when the server runs as root        privileges.py
    privileges  no capabilities, none to gain; no one looks inside    privileges.py
    landlock    no file but the spool's, no TCP, no signals           landlock.py
    seccomp     no system call but those that scanning takes          seccomp.py
    namespaces  a network of its own, without an interface            privileges.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from icapd.errors import ConfigurationError, Problem
from icapd.worker.frames import SandboxStep
from icapd.worker.sandbox.kernel import die_with
from icapd.worker.sandbox.landlock import prepare_files
from icapd.worker.sandbox.limits import apply_limits
from icapd.worker.sandbox.privileges import become, find_account, leave_namespaces, renounce_privileges
from icapd.worker.sandbox.seccomp import install_filter

if TYPE_CHECKING:
    from icapd.config.schema import Scanners

EXPECTED = frozenset({"limits", "user", "privileges", "landlock", "seccomp"})
"""What every current kernel offers to every user; namespaces take a server that runs as root."""


class Confinement(msgspec.Struct, frozen=True):
    """What the configuration says of scanners. `readable` are files and folders with bodies in them."""

    memory_bytes: int
    sandbox: bool | Literal["required"]
    user: str
    readable: tuple[str, ...] = ()
    is_idle: bool = False
    """Whether they run only when nobody else wants the processor."""

    @classmethod
    def of(cls, settings: Scanners, *readable: str, is_idle: bool = False) -> Confinement:
        return cls(settings.memory_bytes, settings.sandbox, settings.user, readable, is_idle)


encode_confinement = msgspec.json.Encoder().encode
decode_confinement = msgspec.json.Decoder(Confinement).decode


class Sandbox:
    """Made once, in the nursery; each scanner enters it.

    State: `steps` as a trial went; `_own_namespaces`, what the nursery did for its scanners.
    """

    def __init__(self, confinement: Confinement) -> None:
        """Raises: ConfigurationError for a user that is none."""
        self._confinement = confinement
        needs_account = confinement.sandbox and os.geteuid() == 0
        self._account = find_account(confinement.user) if needs_account else None
        self._own_namespaces = _step("namespaces", leave_namespaces) if confinement.sandbox else _off("namespaces")
        self.steps = self._try_out()
        if confinement.sandbox == "required" and (problems := [_problem(each) for each in missing(self.steps)]):
            raise ConfigurationError(problems)

    def enter(self, parent: int, kept: int) -> tuple[SandboxStep, ...]:
        """Takes all steps, for good.

        Args: `parent` is the process to die with; `kept` the one descriptor to keep beside the standard ones.
        """
        confinement = self._confinement
        die_with(parent)
        steps = [_step("limits", lambda: apply_limits(confinement.memory_bytes))]
        if not confinement.sandbox:
            return (*steps, *map(_off, ("user", "privileges", "landlock", "seccomp")), self._own_namespaces)
        _close_others(kept)
        restrict_files = prepare_files(confinement.readable)  # while we may reach them
        steps.append(_step("user", lambda: become(self._account)))
        steps.append(_step("privileges", renounce_privileges))
        die_with(parent)  # the change of user has undone it
        landlock = _step("landlock", restrict_files)
        steps.append(landlock)
        steps.append(_step("seccomp", lambda: install_filter(may_open=landlock.in_force)))
        return (*steps, self._own_namespaces)

    def enter_as_tried(self, parent: int, kept: int) -> None:
        """The same. Raises: OSError when it came to less than the trial, as operators were told that it holds."""
        now = {step.name for step in self.enter(parent, kept) if step.in_force}
        lost = [step.name for step in self.steps if step.in_force and step.name not in now]
        if lost:
            raise OSError(f"not in force as it was before: {', '.join(lost)}")

    def _try_out(self) -> tuple[SandboxStep, ...]:
        """What a child says that enters and ends. Raises: ConfigurationError when it does not come back."""
        reading, writing = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, _encode_steps(self.enter(parent, writing)))
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(pid, 0)
        if not answer:
            raise ConfigurationError([Problem("scanners.sandbox", f"a trial ended with status {status}")])
        return _decode_steps(answer)


_encode_steps = msgspec.msgpack.Encoder().encode
_decode_steps = msgspec.msgpack.Decoder(tuple[SandboxStep, ...]).decode


def missing(steps: tuple[SandboxStep, ...]) -> list[SandboxStep]:
    """What should be in force and is not."""
    return [step for step in steps if step.name in EXPECTED and not step.in_force]


def _step(name: str, take: Callable[[], str]) -> SandboxStep:
    try:
        return SandboxStep(name, True, take())
    except OSError as error:
        return SandboxStep(name, False, error.strerror or str(error))


def _off(name: str) -> SandboxStep:
    return SandboxStep(name, False, "scanners.sandbox is off")


def _problem(step: SandboxStep) -> Problem:
    return Problem("scanners.sandbox", f"{step.name} is required and not in force: {step.detail}")


def _close_others(kept: int) -> None:
    """Standard input and output lead nowhere: what a body makes a library print is no line of our log."""
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
