"""The compression methods of ZIP (APPNOTE 4.4.5)."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from typing import Final

from engines.archive.collect import Unpacked, collect
from engines.archive.limits import ArchiveOptions
from engines.archive.replayed import unzstd
from engines.archive.streams import Broken, Buffered, Source, Stream, inflate_zip, zip_lzma
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget

STORED: Final = 0
DEFLATE: Final = 8
AES: Final = 99
"""Not a method but encryption, the method beneath it stands in an extra field."""

_METHODS: Final[dict[int, Callable[[Source], Stream]]] = {
    DEFLATE: inflate_zip,
    12: lambda source: Buffered(source, bz2.BZ2Decompressor()),
    14: zip_lzma,
    93: lambda source: unzstd(source, 1),
}


def read(
    source: Source, method: int, packed_bytes: int, limits: ArchiveOptions, budget: Budget
) -> tuple[Unpacked, Source] | None:
    """What a member's packed bytes hold, and what is left of them behind its end; nothing for an unknown method."""
    if method == STORED:
        return collect(source, packed_bytes, limits, budget), source
    opener = _METHODS.get(method)
    if opener is None:
        return None
    try:
        stream = opener(source)
    except Broken as error:
        return Unpacked(b"", "", error), source
    except LimitReached as reached:
        return Unpacked(b"", reached.limit), source
    unpacked = collect(stream, packed_bytes, limits, budget)
    return unpacked, stream.rest()
