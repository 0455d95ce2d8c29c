"""Text for a terminal: colours only where somebody looks, and no control characters of others."""

from __future__ import annotations

import os

from rich.console import Console
from rich.text import Text

STYLES = {"BLOCKED": "bold red", "ALLOWED": "green", "MONITORED": "yellow", "UNREAD": "magenta", "SKIPPED": "dim"}
"""What became of a file, in the words that `send` and `scan` print."""


def printable(text: str) -> str:
    """Text that cannot move the cursor, colour the screen or break the line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def path_text(path: str) -> str:
    r"""A file's name as text; bytes that are no UTF-8 are shown as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with status 1, which here means blocked; main knows better."""
        raise BrokenPipeError


class Output:
    """Lines on one stream; neither wrapped nor marked up, coloured only on a terminal."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.console = _Console(stderr=to_stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, text: str, done: str = "") -> None:
        """One line; with `done` (a key of STYLES) before it in its colour."""
        encoding = self.console.encoding
        shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        start = Text(f"{done:<9} ", STYLES[done]) if done else Text()
        self.console.print(start.append(shown))
