"""Source code out of VBA projects ([MS-OVBA]): compressed containers and the `dir` stream. No judgement here.

Everything is bounded by what it is read from: a chunk gives 4096 bytes at most, a name is as long as its record.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from icapd.scan.model import Budget

CHUNK_BYTES: Final = 4096
_SIGNATURE: Final = 1
_MODULES_MAX: Final = 4096
SOURCE_MARK: Final = b"\x00Attribut"
"""How nearly every compressed module begins: a flag byte of literals, then the first eight of them."""

_MODULE_NAME: Final = 0x0019
_STREAM_NAME: Final = 0x001A
_STREAM_NAME_UNICODE: Final = 0x0032
_OFFSET: Final = 0x0031
_MODULE_END: Final = 0x002B
_VERSION: Final = 0x0009
_CODE_PAGE: Final = 0x0003


def decompress(data: bytes, start: int, budget: Budget, max_bytes: int) -> bytes:
    """One compressed container ([MS-OVBA] 2.4.1.3.1), up to its damage, its end or `max_bytes`.

    Raises: LimitReached, DeadlineReached.
    """
    if start >= len(data) or data[start] != _SIGNATURE:
        return b""
    out = bytearray()
    at = start + 1
    while at + 2 <= len(data) and len(out) < max_bytes:
        budget.check_time()
        header = data[at] | data[at + 1] << 8
        if header & 0x7000 != 0x3000:
            break
        end = min(at + (header & 0x0FFF) + 3, len(data))
        if header & 0x8000:
            chunk = _chunk(data, at + 2, end)
        else:
            chunk = data[at + 2 : at + 2 + CHUNK_BYTES]
            end = at + 2 + CHUNK_BYTES
        budget.take_bytes(len(chunk))
        out += chunk
        at = end
    return bytes(out[:max_bytes])


def _chunk(data: bytes, at: int, end: int) -> bytes:
    """One compressed chunk ([MS-OVBA] 2.4.1.3.2): eight tokens behind each byte of flags."""
    out = bytearray()
    while at < end and len(out) < CHUNK_BYTES:
        flags = data[at]
        at += 1
        if not flags:
            out += data[at : min(at + 8, end)]
            at += 8
            continue
        for bit in range(8):
            if at >= end or len(out) >= CHUNK_BYTES:
                break
            if not flags >> bit & 1:
                out.append(data[at])
                at += 1
                continue
            if at + 2 > end or not out:
                return bytes(out)
            _copy(out, data[at] | data[at + 1] << 8)
            at += 2
    return bytes(out[:CHUNK_BYTES])


def _copy(out: bytearray, token: int) -> None:
    """A copy token ([MS-OVBA] 2.4.1.3.19.1): how its bits are shared depends on how much there is to copy from."""
    offset_bits = max((len(out) - 1).bit_length(), 4)
    length_bits = 16 - offset_bits
    length = (token & ((1 << length_bits) - 1)) + 3
    offset = (token >> length_bits) + 1
    if offset > len(out):
        return
    start = len(out) - offset
    if offset >= length:
        out += out[start : start + length]
    else:
        pattern = bytes(out[start:])
        out += (pattern * (length // offset + 1))[:length]


@dataclass(frozen=True, slots=True)
class Module:
    """Where the `dir` stream says that a module's source is."""

    name: str
    stream: str
    offset: int


def modules(directory: bytes) -> Iterator[Module]:
    """The modules that a decompressed `dir` stream lists ([MS-OVBA] 2.3.4.2), up to its damage."""
    name = stream = ""
    offset = -1
    encoding = "cp1252"
    count = 0
    for kind, content in _records(directory):
        if kind == _CODE_PAGE and len(content) == 2:
            encoding = _encoding(int.from_bytes(content, "little"))
        elif kind == _MODULE_NAME:
            name = content.decode(encoding, "replace")
        elif kind == _STREAM_NAME:
            stream = content.decode(encoding, "replace")
        elif kind == _STREAM_NAME_UNICODE:
            stream = content.decode("utf-16-le", "replace") or stream
        elif kind == _OFFSET and len(content) == 4:
            offset = int.from_bytes(content, "little")
        elif kind == _MODULE_END:
            if stream and offset >= 0:
                yield Module(name or stream, stream, offset)
                count += 1
            name, stream, offset = "", "", -1
            if count >= _MODULES_MAX:
                return


def _records(directory: bytes) -> Iterator[tuple[int, bytes]]:
    """Identifier, length, content. PROJECTVERSION says four and has six bytes ([MS-OVBA] 2.3.4.2.1.11)."""
    at = 0
    while at + 6 <= len(directory):
        kind, size_bytes = struct.unpack_from("<HI", directory, at)
        at += 6
        if kind == _VERSION:
            size_bytes = 6
        yield kind, directory[at : at + size_bytes]
        at += size_bytes


_ENCODINGS: Final = {
    **{number: f"cp{number}" for number in (874, 932, 949, 950, *range(1250, 1259))},
    936: "gbk",
    65001: "utf-8",
    10000: "mac-roman",
}
for _name in (*_ENCODINGS.values(), "utf-16"):
    codecs.lookup(_name)  # loads it now: a scanner may open no file


def _encoding(code_page: int) -> str:
    return _ENCODINGS.get(code_page, "cp1252")
