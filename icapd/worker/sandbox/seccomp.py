"""The system-call filter: a list of what a scanner may call, and a list of what only an attack would.

The rest fails with EPERM, which libraries live with. Threads that start later inherit the filter.

The program is classic BPF, built by hand: each rule compares the call's number and ends in an answer, or goes on to
the next rule. So no library of the system is needed.

Spec: the kernel's Documentation/userspace-api/seccomp_filter.rst
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Mapping

from icapd.worker.sandbox.kernel import system_call
from icapd.worker.sandbox.syscalls import ALLOWED, ARCHITECTURES, ATTACKS, UNKNOWN, numbers

_SET_MODE_FILTER = 1
_SPEC_ALLOW = 4
"""Without it, kernels before 5.16 slow a filtered process down, against code that spies on it from within: a
scanner runs no code of others."""

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8
_X32 = 0x40000000
"""Calls of the x32 ABI have this bit in their number; nobody here makes them."""

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

_CLONE_THREAD = 0x00010000
_AT_EMPTY_PATH = 0x1000
_PROT_EXEC = 0x4
_O_TMPFILE = 0o20000000  # without O_DIRECTORY, which Python's constant has in it
_NOT_JUST_READING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | _O_TMPFILE
_F_DUPFD_CLOEXEC, _F_GET_SEALS = 1030, 1034
_FCNTL = (0, 1, 2, 3, _F_DUPFD_CLOEXEC, _F_GET_SEALS)
"""Duplicate, and look at or set what is this process's own. Others have the kernel send signals, or lock files."""
_PR_SET_NAME = 15

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""
Rule = list[Instruction]


def install_filter(*, may_open: bool) -> str:
    """Puts the filter in force for good, for threads to come too.

    Args: `may_open` lets files be opened for reading; what else guards them says which.
    Raises: OSError where the kernel or the architecture has no such filter.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    architecture = ARCHITECTURES[machine]
    known = numbers(architecture)
    rules = [instruction for rule in _rules(known, os.getpid(), may_open) for instruction in rule]
    program = [*_preamble(architecture.audit), *rules, _answer(_ERRNO | errno.EPERM)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    system_call(known["seccomp"], _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.create_string_buffer(head, len(head)))
    return ""


def _preamble(audit: int) -> Rule:
    """Kills what calls the kernel by another architecture's numbers; leaves the number loaded."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, audit),
        _answer(_KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32),
        _answer(_KILL),
    ]


def _rules(known: Mapping[str, int], pid: int, may_open: bool) -> Iterator[Rule]:
    """In the order in which the kernel tries them. A call that this architecture lacks has none."""
    answers = [
        *((name, [_answer(_ALLOW)]) for name in ALLOWED),
        *_conditions(pid, may_open),
        *((name, [_answer(_KILL)]) for name in ATTACKS),
        *((name, [_answer(_ERRNO | errno.ENOSYS)]) for name in UNKNOWN),
        ("ioctl", [_answer(_ERRNO | errno.ENOTTY)]),  # what says that a descriptor is no terminal
    ]
    for name, answer in answers:
        if name in known:
            yield [(_JUMP_IF_EQUAL, 0, len(answer), known[name]), *answer]


def _conditions(pid: int, may_open: bool) -> list[tuple[str, Rule]]:
    """Calls that are judged by an argument. Each answer is whole: it loads over the number."""
    eacces, eperm = _ERRNO | errno.EACCES, _ERRNO | errno.EPERM
    opened = _ALLOW if may_open else eacces
    return [
        ("mmap", _by_bits(2, _PROT_EXEC, eacces, _ALLOW)),
        ("mprotect", _by_bits(2, _PROT_EXEC, eacces, _ALLOW)),
        ("newfstatat", _by_bits(3, _AT_EMPTY_PATH, _ALLOW, eacces)),  # of a descriptor, not of a path
        ("statx", _by_bits(2, _AT_EMPTY_PATH, _ALLOW, eacces)),
        ("fcntl", _by_value(1, _FCNTL, _ALLOW, eperm)),
        ("openat", _by_bits(2, _NOT_JUST_READING, eacces, opened)),
        ("open", _by_bits(1, _NOT_JUST_READING, eacces, opened)),
        ("clone", _by_bits(0, _CLONE_THREAD, _ALLOW, _KILL)),
        ("prlimit64", _by_value(0, (0,), _ALLOW, eperm)),
        ("prctl", _by_value(0, (_PR_SET_NAME,), _ALLOW, eperm)),
        ("kill", _by_value(0, (pid,), _ALLOW, _KILL)),
        ("tgkill", _by_value(0, (pid,), _ALLOW, _KILL)),
    ]


def _by_bits(argument: int, mask: int, if_any: int, if_none: int) -> Rule:
    return [_load_low(argument), (_JUMP_IF_ANY_BIT, 0, 1, mask), _answer(if_any), _answer(if_none)]


def _by_value(argument: int, values: tuple[int, ...], if_among: int, otherwise: int) -> Rule:
    rule = [_load_low(argument)]
    for value in values:
        rule += [(_JUMP_IF_EQUAL, 0, 1, value), _answer(if_among)]
    return [*rule, _answer(otherwise)]


def _load_low(argument: int) -> Instruction:
    """The lower half of an argument, which is all that the kernel reads of flags, commands and process ids."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + _ARGUMENT_BYTES * argument)


def _answer(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)
