"""xar archives: a header, a table of contents in compressed XML, and a heap that holds the members' data."""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from engines.archive import findings
from engines.archive.collect import NAME_BYTES, Unpacked, collect
from engines.archive.limits import ArchiveOptions
from engines.archive.names import member_name
from engines.archive.streams import (
    LZMA_DICTIONARY_BYTES,
    Broken,
    Buffered,
    Inflate,
    Range,
    Source,
    Stream,
    Unsupported,
    lzma_stream,
)
from engines.inflate import ZLIB
from icapd.scan.model import Budget, Finding, Sample

FORMAT: Final = "xar"
MEDIA_TYPE: Final = "application/x-xar"
TOC_BYTES: Final = "archive.max_toc_bytes"
MAX_TOC_BYTES: Final = 8 * 1024 * 1024
"""A second's work for the parser."""
_MAX_FOLDERS: Final = 64
_MAX_TEXT: Final = 0xFFFF
_HEADER: Final = struct.Struct(">4s2H2Q")

_DECODERS: Final[dict[str, Callable[[Source], Stream]]] = {
    "application/x-gzip": lambda source: Inflate(source, ZLIB),  # zlib, whatever it is called
    "application/x-bzip2": lambda source: Buffered(source, bz2.BZ2Decompressor()),
    "application/x-lzma": lambda source: lzma_stream(source, lzma.FORMAT_AUTO),
    "application/x-xz": lambda source: lzma_stream(source, lzma.FORMAT_AUTO),
}


@dataclass
class _File:
    """What the table of contents says of one file; a folder has no length."""

    name: str = ""
    style: str = ""
    offset: int = 0
    length: int = 0


def unpack(sample: Sample, limits: ArchiveOptions, budget: Budget) -> Iterator[Sample | Finding]:
    head = sample.head(_HEADER.size)
    if len(head) < _HEADER.size:
        yield findings.corrupt(FORMAT, sample.trail)
        return
    _, header_bytes, _, toc_bytes, _ = _HEADER.unpack(head)
    heap = header_bytes + toc_bytes
    packed = Inflate(Range(sample.data, header_bytes, heap, budget), ZLIB)
    toc = collect(packed, sample.size_bytes, limits, budget)
    if toc.data:
        yield sample.member(toc.data, "toc.xml")
    yield from toc.shortfall(FORMAT, sample.trail)
    if len(toc.data) > MAX_TOC_BYTES:
        yield findings.limit(TOC_BYTES, sample.trail)
    contents = _Contents(limits.max_members)
    for file in contents.read(toc.data[:MAX_TOC_BYTES]):
        yield from _member(sample, file, heap, limits, budget)
    if contents.is_broken:
        yield findings.corrupt(FORMAT, sample.trail)


def _member(
    sample: Sample, file: _File, heap: int, limits: ArchiveOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    budget.check_time()
    budget.take_member()
    name = member_name(file.name.encode(), "utf-8") or "member"
    trail = (*sample.trail, name)
    if len(file.name.encode()) > limits.max_name_bytes:
        yield findings.limit(NAME_BYTES, trail)
    content = _read(sample, file, heap + file.offset, limits, budget)
    if content.data:
        yield sample.member(content.data, name)
    yield from content.shortfall(FORMAT, trail)


def _read(sample: Sample, file: _File, start: int, limits: ArchiveOptions, budget: Budget) -> Unpacked:
    end = start + file.length
    source = Range(sample.data, start, end, budget)
    if file.style in _DECODERS:
        stream = _DECODERS[file.style](source)
        return collect(stream, sample.size_bytes, limits, budget, LZMA_DICTIONARY_BYTES)
    content = collect(source, sample.size_bytes, limits, budget)
    fault: Broken | None = Broken("cut short") if end > sample.size_bytes else None
    if file.style not in ("", "application/octet-stream"):
        fault = Unsupported(file.style)
    return Unpacked(content.data, content.limit, fault)


class _Contents:
    """The table of contents, read as XML without entities of its own.

    State: the files that are open, the innermost last, and the text of the element that is being read.
    """

    def __init__(self, max_members: int) -> None:
        self.is_broken = False
        self._files_left = max_members + 1
        self._open: list[_File] = []
        self._done: list[_File] = []
        self._path: list[str] = []
        self._text = ""

    def read(self, toc: bytes) -> list[_File]:
        """The files with data, those of a table that is cut short as far as it goes."""
        parser = expat.ParserCreate("utf-8")  # whatever it declares: a scanner opens no codec's file
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._refuse_entity
        try:
            parser.Parse(toc, True)
        except (expat.ExpatError, ValueError):
            self.is_broken = True
        return self._done

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._text = ""
        self._path.append(name)
        if name == "file":
            if len(self._open) == _MAX_FOLDERS:
                raise ValueError("too many folders in folders")
            self._open.append(_File())
        elif name == "encoding" and self._open:
            self._open[-1].style = attributes.get("style", "")

    def _characters(self, text: str) -> None:
        if len(self._text) <= _MAX_TEXT:
            self._text += text

    def _end(self, name: str) -> None:
        self._path.pop()
        parent = self._path[-1] if self._path else ""
        if not self._open:
            return
        file = self._open[-1]
        if name == "file":
            self._open.pop()
        elif (parent, name) == ("file", "name"):
            file.name = "/".join([*(folder.name for folder in self._open[-2:-1]), self._text])
        elif (parent, name) == ("data", "offset"):
            file.offset = _number(self._text)
        elif (parent, name) == ("data", "length"):
            file.length = _number(self._text)
        elif (parent, name) == ("file", "data"):
            self._done.append(file)
            self._files_left -= 1
            if not self._files_left:
                raise ValueError("too many files")  # the budget refuses the last of them
        self._text = ""

    def _refuse_entity(self, *declaration: object) -> None:
        raise ValueError("a table of contents declares no entities")


def _number(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("no number")
    return int(text)
