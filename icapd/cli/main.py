"""Parses the command line, loads the one module that runs the command, and speaks of what went wrong.

Commands are imported when they are called, so that `icapd --help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from icapd.cli.arguments import make_parser
from icapd.cli.exits import Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns: the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return Exit.USAGE
    try:
        status = _run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return Exit.PIPE_CLOSED
    except OSError as error:
        # Without this the status would be 1, which here means blocked.
        _give_up_stdout()
        with contextlib.suppress(OSError):
            print(f"icapd: {error}", file=sys.stderr)
        return Exit.FAILED
    return status


def _give_up_stdout() -> None:
    """Sends what is still buffered nowhere: the interpreter flushes once more when it ends, and must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: argparse.Namespace) -> int:
    from icapd.errors import ConfigurationError

    try:
        run: Callable[[argparse.Namespace], int] = importlib.import_module(f"icapd.cli.{options.command}").run
        return run(options)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return Exit.USAGE
