"""Parses the command line, loads the one module that runs the command, and speaks of what went wrong.

Commands are imported when they are called, so that `icapd --help` answers at once.
"""

from __future__ import annotations

import argparse
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
        # The interpreter flushes once more when it ends, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.PIPE_CLOSED
    return status


def _run(options: argparse.Namespace) -> int:
    from icapd.errors import ConfigurationError

    try:
        run: Callable[[argparse.Namespace], int] = importlib.import_module(f"icapd.cli.{options.command}").run
        return run(options)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return Exit.USAGE
