"""Deflate64, which Windows writes into ZIP archives and opens (APPNOTE 4.4.5, method 9)."""

from __future__ import annotations

from typing import Final

import inflate64

from engines.archive.streams import Broken, Pushed, Source

_STEP_BYTES: Final = 64
"""The library gives all that its input holds: of so little at most 2 MB, as 65,538 bytes take 18 bits at least."""


class Inflate64:
    """One stream, in steps; its last bytes come one by one, as nobody tells how many of a step were used.

    State: the library's; what was read of the source and is not given to it, and what is behind that.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._inflater = inflate64.Inflater()
        self._given = b""
        self._ready = b""
        self._ahead = source.read(_STEP_BYTES)

    def read(self, size_bytes: int) -> bytes:
        """Some bytes, more than were asked for where a step gives more; nothing at the end. Raises: Broken."""
        while not self._inflater.eof:
            if not self._ready:
                self._ready, self._ahead = self._ahead, self._source.read(_STEP_BYTES)
            step_bytes = len(self._ready) if self._ahead else 1
            self._given, self._ready = self._ready[:step_bytes], self._ready[step_bytes:]
            if not self._given:
                raise Broken("cut short")
            try:
                block: bytes = self._inflater.inflate(self._given)
            except ValueError as error:
                raise Broken(str(error)) from error
            if block:
                return block
        return b""

    def rest(self) -> Source:
        """Where much follows, with the last step before it: a few bytes too many and none too few."""
        given = self._given if len(self._given) > 1 else b""
        return Pushed(given + self._ready + self._ahead, self._source)
