"""What a scanner's user may do: as little as the kernel lets us leave of it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import pwd
from typing import NamedTuple

from icapd.errors import ConfigurationError, Problem
from icapd.worker.sandbox.kernel import drop_capabilities, prctl, unshare

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_KILL = 5
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWNET = 0x40000000


class Account(NamedTuple):
    """A user of the system."""

    name: str
    uid: int
    gid: int


def find_account(name: str) -> Account:
    """Raises: ConfigurationError for a name that the system does not know, or that is root's."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError([Problem("scanners.user", f"this system knows no user {name}")]) from None
    if entry.pw_uid == 0:
        raise ConfigurationError([Problem("scanners.user", f"{name} may do everything; name an ordinary user")])
    return Account(name, entry.pw_uid, entry.pw_gid)


def become(account: Account | None) -> str:
    """Changes to this user for good; None = the server's own is an ordinary one. Raises: OSError."""
    if account is None:
        return "the server's own"
    if not _may_kill():
        raise OSError(errno.EPERM, "without CAP_KILL nobody could end it at a deadline")
    _drop_bounding_set()  # while we may
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    return account.name


def _may_kill() -> bool:
    """Whether this process may end those of other users."""
    with open("/proc/self/status", "rb") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:"))
    return bool(effective >> _CAP_KILL & 1)


def _drop_bounding_set() -> None:
    """Past the last capability the kernel refuses; also where we may not, and PR_SET_NO_NEW_PRIVS alone must do."""
    with contextlib.suppress(OSError):
        for capability in itertools.count():
            prctl(_PR_CAPBSET_DROP, capability)


def renounce_privileges() -> str:
    """No capability, none to be had by executing a file, and no other process may look inside. Raises: OSError."""
    with contextlib.suppress(OSError):  # a kernel without ambient capabilities
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    drop_capabilities()
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_DUMPABLE, 0)
    return ""


def leave_namespaces() -> str:
    """Into a network without an interface, and away from the machine's shared memory. Raises: OSError."""
    unshare(_CLONE_NEWNET | _CLONE_NEWIPC)
    return "network, IPC"
