"""The exit statuses of `icapd`, the same for every command."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What a shell sees."""

    OK = 0
    """Done; for send and scan: everything is allowed."""
    BLOCKED = 1
    ABSENT = 1
    """For cache get: nothing is known that could be believed."""
    USAGE = 2
    """The command line or the configuration cannot be used."""
    FAILED = 3
    """A connection, the protocol or a file failed."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count signals."""
    PIPE_CLOSED = 141
    """Nobody reads our output any more."""
