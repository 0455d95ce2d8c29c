"""`icapd reload`: has the running server read its files anew, and says what came of it."""

from __future__ import annotations

import argparse
import sys

from icapd.cli.exits import Exit
from icapd.config.load import read_admin
from icapd.errors import ConfigurationError
from icapd.worker.control import ask_reload, control_address
from icapd.worker.frames import ReloadEnded, unpack_problems

_KEPT = "Nothing has changed: the configuration before stays in force."


def run(options: argparse.Namespace) -> int:
    """Waits for the end of the reload. Returns: 1 when it failed."""
    overrides = dict(options.set)
    if options.admin:
        overrides["server.admin"] = options.admin
    try:
        admin = read_admin(options.config, overrides)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"Which server is meant cannot be told; --admin does. {_KEPT}", file=sys.stderr)
        return Exit.USAGE
    try:
        ended = ask_reload(control_address(admin), options.timeout)
    except ConnectionRefusedError:
        print(
            f"icapd: no server with the admin address http://{admin} runs here; --admin says another", file=sys.stderr
        )
        return Exit.FAILED
    except TimeoutError:
        print("icapd: the server has not answered in time; its log will say what became of it", file=sys.stderr)
        return Exit.FAILED
    return _tell(ended)


def _tell(ended: ReloadEnded) -> int:
    if ended.result == "failed":
        for problem in unpack_problems(ended.problems):
            print(problem, file=sys.stderr)
        print(f"failed. {_KEPT} ISTag {ended.istag}", file=sys.stderr)
        return Exit.BLOCKED
    print(f"{ended.result}, ISTag {ended.istag}, {ended.elapsed_s:.1f} s")
    for note in ended.notes:
        print(f"note: {note}")
    return Exit.OK
