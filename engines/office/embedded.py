"""Objects inside documents: packages, OLE1 objects, monikers, equations. Bytes in, values and signs out."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engines.office import ole_table
from icapd.scan.indicators import Indicator

_NAME_BYTES: Final = 1024
_HEAD_BYTES: Final = 4096
_OVERFLOW_BYTES: Final = 36
"""The editor's buffer for a font name; no font's name is as long."""
_COMMAND = re.compile(rb"(?:" + "|".join(ole_table.COMMANDS).encode() + rb")(?:\.exe)?\b", re.IGNORECASE)
_QUOTE = re.compile(r"\bquote((?:[ \t]{1,8}[0-9]{1,5}){1,4000})", re.IGNORECASE)
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True, slots=True)
class Package:
    """A file as the packager keeps it. `paths` are all names that it gives it: the last one is what is started."""

    name: str
    paths: tuple[str, ...]
    data: bytes

    @property
    def signs(self) -> Iterator[Indicator]:
        yield ole_table.PACKAGE
        endings = {path.rstrip(". \0").rpartition(".")[2].lower() for path in self.paths}
        if endings & ole_table.PROGRAM_ENDINGS or self.data[:2] == b"MZ":
            yield ole_table.PROGRAM


@dataclass(frozen=True, slots=True)
class Object1:
    """An OLE1 object ([MS-OLEDS] 2.2.4, 2.2.5): what RTF carries."""

    class_name: str
    topic: str
    data: bytes
    is_link: bool


def package(stream: bytes) -> Package | None:
    """The file in an `\\x01Ole10Native` stream, or in an OLE1 object of the class Package; nothing for other data.

    The layout is that of the Windows packager: size, flags, label, path, flags, temporary path, size, data.
    """
    at = 4 if len(stream) > 6 and stream[4:6] == b"\x02\x00" else 0
    if stream[at : at + 2] != b"\x02\x00":
        return None
    label, at = _text_to_zero(stream, at + 2)
    path, at = _text_to_zero(stream, at)
    if at + 8 > len(stream):
        return None
    (path_bytes,) = struct.unpack_from("<I", stream, at + 4)
    at += 8 + path_bytes
    if path_bytes > _NAME_BYTES * 4 or at + 4 > len(stream):
        return None
    started = stream[at - path_bytes : at].partition(b"\0")[0].decode("latin-1")
    (size_bytes,) = struct.unpack_from("<I", stream, at)
    name = (label or path).replace("\\", "/").rpartition("/")[2] or "package"
    return Package(name.translate(_CONTROL)[:255], (label, path, started), stream[at + 4 : at + 4 + size_bytes])


def object1(data: bytes) -> Object1 | None:
    """The OLE1 object at the start of data, or nothing."""
    if len(data) < 12:
        return None
    (kind,) = struct.unpack_from("<I", data, 4)
    if kind not in (1, 2):
        return None
    texts, at = [], 8
    for _ in range(3):
        text, at = _counted(data, at)
        texts.append(text)
    if at + 4 > len(data) or kind == 1:
        return Object1(texts[0], texts[1], b"", is_link=kind == 1)
    (size_bytes,) = struct.unpack_from("<I", data, at)
    return Object1(texts[0], texts[1], data[at + 4 : at + 4 + size_bytes], is_link=False)


def moniker_signs(stream: bytes) -> Iterator[Indicator]:
    """What an `\\x01Ole` stream links to ([MS-OLEDS] 2.3.3)."""
    head = stream[: 16 * _HEAD_BYTES]
    if any(moniker in head for moniker in ole_table.SCRIPT_MONIKERS):
        yield ole_table.SCRIPT_LINK
    if ole_table.URL_MONIKER in head and re.search(rb"h\0?t\0?t\0?p\0?s?\0?:|\\\0?\\\0?", head, re.IGNORECASE):
        yield ole_table.LINK


def equation_signs(stream: bytes) -> Iterator[Indicator]:
    """An `Equation Native` stream: a header whose length comes first, then MTEF 3 with a font record (tag 8)."""
    yield ole_table.EQUATION
    if len(stream) < 34:
        return
    at = int.from_bytes(stream[:2], "little") + 5
    for _ in range(8):  # records of size and line stand before the first font
        if stream[at : at + 1] == b"\x08":
            break
        at += 1
    else:
        return
    name_at = at + 3
    end = stream.find(b"\0", name_at, name_at + 256)
    if (end if end >= 0 else len(stream)) - name_at > _OVERFLOW_BYTES:
        yield ole_table.EQUATION_OVERFLOW


def dde_signs(text: bytes) -> Iterator[Indicator]:
    """What a DDE field or link that was found starts; zero bytes of UTF-16 do not count."""
    yield ole_table.DDE
    if _COMMAND.search(text.replace(b"\0", b"")):
        yield ole_table.DDE_COMMAND


def quoted(text: str) -> str:
    """What QUOTE fields in a field's code give: characters by their numbers (ECMA-376-1 17.16.5.49)."""
    numbers = (number for match in _QUOTE.finditer(text) for number in match[1].split())
    return "".join(chr(int(number)) for number in numbers if int(number) < 0xD800)


def _text_to_zero(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at, at + _NAME_BYTES)
    if end < 0:
        return "", len(data)
    return data[at:end].decode("latin-1"), end + 1


def _counted(data: bytes, at: int) -> tuple[str, int]:
    """A LengthPrefixedAnsiString ([MS-OLEDS] 2.1.4)."""
    if at + 4 > len(data):
        return "", len(data)
    (size_bytes,) = struct.unpack_from("<I", data, at)
    text = data[at + 4 : at + 4 + min(size_bytes, _NAME_BYTES)]
    return text.partition(b"\0")[0].decode("latin-1"), at + 4 + size_bytes
