"""Bodies that look like the web's: one function for each type, deterministic for a given source of randomness.

Knows nothing of files. Most of a body is made of random words or noise, so that nothing in it is found by accident.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Final

Content = Callable[[random.Random, int], bytes]
"""Makes a body of about so many bytes."""

_TEXT: Final = (
    "the of and to in is for that with as on this be by are from at it an have not was or which can all has more "
    "will their new about other page search user data value function return const window document click item price "
    "news world report market policy science image video article comment share login account settings help"
)
_WORDS: Final = _TEXT.split()
_ZIP_DATE: Final = (2025, 1, 1, 0, 0, 0)


def seeded(seed: int) -> random.Random:
    """The same numbers on every machine: both servers, today and next year, get the same bodies."""
    return random.Random(seed)  # noqa: S311 - test data, no secrets


def text(source: random.Random, size_bytes: int) -> str:
    words: list[str] = []
    size = 0
    while size < size_bytes:
        words.append(source.choice(_WORDS))
        size += len(words[-1]) + 1
    return " ".join(words)[:size_bytes]


def _repeated(head: str, size_bytes: int, piece: Callable[[], str]) -> str:
    """The head, and pieces until there are enough bytes."""
    pieces, size = [head], len(head)
    while size < size_bytes:
        pieces.append(piece())
        size += len(pieces[-1])
    return "".join(pieces)


def html(source: random.Random, size_bytes: int) -> bytes:
    head = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(source, 30)}</title>'
        "<link rel=stylesheet href=/s.css><script src=/a.js></script></head><body>\n"
    )

    def piece() -> str:
        return (
            f'<div class="c{source.randrange(50)}" id="i{source.randrange(9999)}">'
            f'<a href="/{source.choice(_WORDS)}/{source.randrange(9999)}.html">{text(source, 24)}</a>'
            f"<p>{text(source, source.randrange(40, 240))}</p></div>\n"
        )

    return (_repeated(head, size_bytes - 20, piece) + "</body></html>\n").encode()


def javascript(source: random.Random, size_bytes: int) -> bytes:
    def piece() -> str:
        name, left, right = (source.choice(_WORDS) for _ in range(3))
        return (
            f"function {name}{source.randrange(9999)}({left},{right}){{var t={source.randrange(99999)};"
            f"if({left}>t){{return {right}.{name}(t,'{text(source, 20)}')}}"
            f"for(var i=0;i<t;i++){{{left}[i]={right}*{source.randrange(99)}}}return t}}\n"
        )

    return _repeated('"use strict";\n', size_bytes, piece).encode()


def json_items(source: random.Random, size_bytes: int) -> bytes:
    item_bytes = 110
    items = [
        {
            "id": source.randrange(10**9),
            "name": text(source, 20),
            "tags": [source.choice(_WORDS) for _ in range(4)],
            "price": source.random(),
        }
        for _ in range(-(-size_bytes // item_bytes))
    ]
    return json.dumps({"items": items}).encode()


def css(source: random.Random, size_bytes: int) -> bytes:
    def piece() -> str:
        return (
            f".{source.choice(_WORDS)}-{source.randrange(999)}{{color:#{source.randrange(1 << 24):06x};"
            f"margin:{source.randrange(50)}px {source.randrange(50)}px;padding:{source.randrange(5)}em;"
            f"display:flex;font:{source.randrange(9, 30)}px/1.5 sans-serif}}\n"
        )

    return _repeated("", size_bytes, piece).encode()


def svg(source: random.Random, size_bytes: int) -> bytes:
    def piece() -> str:
        x1, y1, x2, y2 = (source.randrange(100) for _ in range(4))
        return f'<path d="M{x1} {y1}L{x2} {y2}Z" fill="#{source.randrange(1 << 24):06x}"/>'

    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    return (_repeated(head, size_bytes, piece) + "</svg>").encode()


def png(source: random.Random, size_bytes: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = max(4, int((size_bytes / 3) ** 0.5))
    rows = b"".join(b"\0" + source.randbytes(side * 3) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    )


def jpeg(source: random.Random, size_bytes: int) -> bytes:
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00H\x00H\x00\x00"
    table = b"\xff\xdb\x00C\x00" + bytes(range(1, 65))
    frame = b"\xff\xc0\x00\x11\x08\x01\x00\x01\x00\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    noise = source.randbytes(max(64, size_bytes - 400)).replace(b"\xff", b"\xfe")
    return head + table + frame + scan + noise + b"\xff\xd9"


def woff2(source: random.Random, size_bytes: int) -> bytes:
    return b"wOF2\x00\x01\x00\x00" + struct.pack(">I", size_bytes) + source.randbytes(max(16, size_bytes - 12))


def pdf(source: random.Random, size_bytes: int) -> bytes:
    head = (
        b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
        b"2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n"
        b"3 0 obj\n<</Type/Page/Parent 2 0 R/Contents 4 0 R>>\nendobj\n"
    )
    objects, size, number = [head], len(head), 4
    while size < size_bytes:
        data = zlib.compress(text(source, 6000).encode() + source.randbytes(2500), 6)
        stream = b"%d 0 obj\n<</Length %d/Filter/FlateDecode>>\nstream\n%b\nendstream\nendobj\n"
        objects.append(stream % (number, len(data), data))
        size += len(objects[-1])
        number += 1
    trailer = b"xref\n0 1\n0000000000 65535 f \ntrailer\n<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n"
    return b"".join(objects) + trailer % (number, size)


def zip_of(
    source: random.Random, size_bytes: int, name: str = "file%d.txt", first: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """A ZIP with these members first, then members of words and noise until it is large enough."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=6) as archive:

        def put(member: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(member, _ZIP_DATE), data, zipfile.ZIP_DEFLATED, 6)

        for member, data in first:
            put(member, data)
        number = 0
        while buffer.tell() < size_bytes:
            noise_bytes = max(400, min(60_000, size_bytes // 4))
            put(name % number, text(source, noise_bytes // 2).encode() + source.randbytes(noise_bytes))
            number += 1
    return buffer.getvalue()


def docx(source: random.Random, size_bytes: int) -> bytes:
    types = b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    document = b"<w:document><w:body>" + text(source, 4000).encode() + b"</w:body></w:document>"
    parts = [("[Content_Types].xml", b'<?xml version="1.0"?>' + types), ("word/document.xml", document)]
    return zip_of(source, size_bytes, "word/media/p%d.xml", parts)


def executable(source: random.Random, size_bytes: int) -> bytes:
    """A 64-bit Windows program with one section: the headers are right, the code is not."""
    pe_offset, head_bytes, machine_amd64 = 0x80, 0x400, 0x8664
    section_bytes = max(head_bytes, size_bytes - head_bytes) // 512 * 512
    dos = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8" + b"\0" * 43 + struct.pack("<I", pe_offset)
    stub = b"\x0e\x1f\xba\x0e\0\xb4\x09\xcd!\xb8\x01L\xcd!This program cannot be run in DOS mode.\r\r\n$"
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine_amd64, 1, 0x66000000, 0, 0, 0xF0, 0x22)
    image_bytes = 0x1000 + (section_bytes + 0xFFF) // 0x1000 * 0x1000
    standard = struct.pack("<HBBIIIII", 0x20B, 14, 0, section_bytes, 0, 0, 0x1000, 0x1000)
    windows = struct.pack(
        "<QIIHHHHHHIIIIHHQQQQII",
        *(0x140000000, 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0, image_bytes, head_bytes, 0, 3, 0x8160),
        *(0x100000, 0x1000, 0x100000, 0x1000, 0, 16),
    )
    section = b".text\0\0\0" + struct.pack(
        "<IIIIIIHHI", section_bytes, 0x1000, section_bytes, head_bytes, 0, 0, 0, 0, 0x60000020
    )
    code = bytearray()
    while len(code) < section_bytes:
        code += source.randbytes(2048) + b"\0" * 256 + text(source, 700).encode()
        code += b"\x55\x48\x89\xe5\x48\x83\xec\x20" * 40
    head = (dos + stub)[:pe_offset].ljust(pe_offset, b"\0") + coff + standard + windows + b"\0" * 128 + section
    return head.ljust(head_bytes, b"\0") + bytes(code[:section_bytes])
