"""The candidate: a process that reads the configuration and its rules anew, tries them, and hands them over or says
why they cannot be used. What crashes, hangs or eats memory while files are read and compiled harms nobody but it.

    python -m icapd.worker.candidate ORDER        (a JSON `Order`)
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from icapd import __version__
from icapd.config.load import Loaded, load
from icapd.config.schema import Settings
from icapd.errors import ConfigurationError, Problem
from icapd.plugins import build_engines, compile_engines, gather_snapshot, installed_specs
from icapd.worker.frames import Checked, encode, pack_problems
from icapd.worker.memfd import make_memfd, read_memfd
from icapd.worker.packets import send
from icapd.worker.plan import Order, Plan, decode_order, decode_plan, encode_plan
from icapd.worker.planning import is_same_store, make_plan, process_counts
from icapd.worker.rules import make_rules, read_rules
from icapd.worker.selftest import notes_of, problems_of, try_engines

_PR_SET_PDEATHSIG = 1

_FIXED = ("server.listen", "server.admin", "server.fronts", "http.listen", "log.access")
"""What is opened or started once, before anything is served."""


def check(order: Order, watched: list[str]) -> tuple[Checked, list[int]]:
    """Reads, compares, builds and tries. Returns: the answer, and the descriptors that go with it.

    Args: `watched` takes the files and folders that rules and lists are read from, also where they cannot be used.
    Raises: ConfigurationError with every problem of the first step that finds any.
    """
    if order.version != __version__:
        what = f"version {order.version} was replaced by {__version__} on disk, which needs a restart"
        raise ConfigurationError([Problem("icapd", what)])
    in_force = decode_plan(read_memfd(order.plan_fd))
    origin = order.origin
    path = None if origin.path is None else Path(origin.path)
    loaded = load(path, installed_specs(), origin.overrides)
    fixed = list(_changes_that_need_a_restart(in_force.read_settings(), loaded.settings))
    if fixed:
        raise ConfigurationError(fixed)
    snapshot = gather_snapshot(
        loaded.settings.engines,
        lambda text: _noted(watched, loaded.resolve(text)),
        selection=loaded.settings.selection,
    )
    plan = _with_secret_of(in_force, make_plan(loaded, snapshot), loaded)
    if _needs_another_store(in_force, plan):
        what = "needs a restart for anything but lifetimes, as a database on the disk is opened once: see cache.disk"
        raise ConfigurationError([Problem("cache", what)])
    _, scanners = process_counts(loaded.settings)
    if encode_plan(plan) == encode_plan(in_force) and scanners == order.scanners:
        return Checked([], [], is_unchanged=True, trial=order.trial, watched=watched), []
    trial = order.trial
    if plan.ruleset == in_force.ruleset:
        snapshot = structs.replace(snapshot, engines=read_rules(order.snapshot_fd).engines)  # these are compiled
    else:
        snapshot = compile_engines(snapshot)
        trial = try_engines(build_engines(snapshot))
        worse = list(problems_of(trial, order.trial))
        if worse:
            raise ConfigurationError(worse)
    descriptors = [
        make_memfd("icapd-plan", encode_plan(plan)),
        make_rules(snapshot),
    ]
    return Checked([], list(notes_of(trial)), scanners=scanners, trial=trial, watched=watched), descriptors


def _noted(watched: list[str], path: Path) -> Path:
    watched.append(str(path))
    return path


def _with_secret_of(in_force: Plan, plan: Plan, loaded: Loaded) -> Plan:
    """A secret that is not from a file is drawn at the start, and stays: records signed with it are still good."""
    if loaded.settings.cache.secret_file is None and in_force.read_settings().cache.secret_file is None:
        return structs.replace(plan, secret=in_force.secret)
    return plan


def _needs_another_store(in_force: Plan, plan: Plan) -> bool:
    old, new = in_force.read_settings().cache, plan.read_settings().cache
    if old.disk.directory is None and new.disk.directory is None:
        return False
    return not is_same_store(old, new) or plan.secret != in_force.secret


def _changes_that_need_a_restart(old: Settings, new: Settings) -> Iterator[Problem]:
    for key in _FIXED:
        section, name = key.split(".")
        before, after = (getattr(getattr(settings, section), name) for settings in (old, new))
        if before != after:
            yield Problem(key, f"needs a restart to become {after!r}; {before!r} is in force")


def main(arguments: list[str]) -> int:
    order = decode_order(arguments[0])
    control = socket.socket(fileno=order.control_fd)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a service manager may mean the whole group
    descriptors: list[int] = []
    watched: list[str] = []
    try:
        checked, descriptors = check(order, watched)
    except ConfigurationError as error:
        checked = Checked(pack_problems(error.problems), watched=watched)
    except Exception as error:  # the border: an engine of somebody else may raise anything
        checked = Checked([("reload", f"{type(error).__name__}: {error}")], watched=watched)
    send(control, [encode(checked)], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
