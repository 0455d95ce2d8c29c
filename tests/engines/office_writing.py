"""Writes office files as programs do, and as no program does: compound files, Visual Basic projects, OLE objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

SECTOR = 512
MINI = 64
CUTOFF = 4096
FREE, END, FAT_SECTOR, NO_ENTRY = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


@dataclass
class _Slot:
    name: str
    kind: int
    content: bytes = b""
    class_id: bytes = bytes(16)
    children: list[int] = field(default_factory=list)
    start: int = END


def compound(streams: dict[str, bytes], classes: dict[str, bytes] | None = None) -> bytes:
    """A compound file ([MS-CFB], version 3). Keys are paths with slashes; `classes` are the storages' class ids."""
    slots = _slots(streams, classes or {})
    sectors: list[bytes] = []
    chains: dict[int, int] = {}
    small = bytearray()
    mini_chains: list[int] = []
    for slot in slots:
        if slot.kind != 2 or not slot.content:
            continue
        if len(slot.content) < CUTOFF:
            slot.start = len(small) // MINI
            small += slot.content.ljust(-(-len(slot.content) // MINI) * MINI, b"\0")
            count = len(small) // MINI - slot.start
            mini_chains += [*range(slot.start + 1, slot.start + count), END]
        else:
            slot.start = _append(sectors, chains, slot.content)
    slots[0].content = bytes(small)
    slots[0].start = _append(sectors, chains, bytes(small)) if small else END
    mini_table = struct.pack(f"<{len(mini_chains)}I", *mini_chains)
    mini_start = _append(sectors, chains, mini_table, b"\xff") if mini_table else END
    directory = b"".join(_directory_entry(slot, slots) for slot in slots)
    directory_start = _append(sectors, chains, directory)
    table_sectors = 1
    while table_sectors * (SECTOR // 4) < len(sectors) + table_sectors:
        table_sectors += 1
    first = len(sectors)
    table = [chains.get(number, END) for number in range(first)] + [FAT_SECTOR] * table_sectors
    table += [FREE] * (table_sectors * (SECTOR // 4) - len(table))
    places = [*range(first, first + table_sectors)] + [FREE] * (109 - table_sectors)
    header = struct.pack(
        "<8s16s6H10I",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0, 0, 0, table_sectors,
        directory_start, 0, CUTOFF, mini_start, -(-len(mini_table) // SECTOR), END, 0,
    )  # fmt: skip
    assert table_sectors <= 109
    whole = header + struct.pack("<109I", *places) + b"".join(sectors)
    return whole + struct.pack(f"<{len(table)}I", *table)


def _slots(streams: dict[str, bytes], classes: dict[str, bytes]) -> list[_Slot]:
    slots = [_Slot("Root Entry", 5, class_id=classes.get("", bytes(16)))]
    places = {"": 0}

    def place(path: str, kind: int, content: bytes = b"") -> int:
        if path not in places:
            parent, _, name = path.rpartition("/")
            above = place(parent, 1)
            slots.append(_Slot(name, kind, content, classes.get(path, bytes(16))))
            places[path] = len(slots) - 1
            slots[above].children.append(places[path])
        return places[path]

    for path, content in streams.items():
        place(path, 2, content)
    return slots


def _append(sectors: list[bytes], chains: dict[int, int], content: bytes, fill: bytes = b"\0") -> int:
    start = len(sectors)
    for at in range(0, len(content), SECTOR):
        sectors.append(content[at : at + SECTOR].ljust(SECTOR, fill))
        chains[len(sectors) - 1] = len(sectors)
    chains[len(sectors) - 1] = END
    return start


def _directory_entry(slot: _Slot, slots: list[_Slot]) -> bytes:
    raw = slot.name.encode("utf-16-le")
    child = slot.children[0] if slot.children else NO_ENTRY
    right = NO_ENTRY
    own = slots.index(slot)
    for above in slots:
        if own in above.children[:-1]:
            right = above.children[above.children.index(own) + 1]
    return struct.pack(
        "<64sHBB3I16sI2Q3I",
        raw, len(raw) + 2, slot.kind, 1, NO_ENTRY, right, child, slot.class_id, 0, 0, 0, slot.start,
        len(slot.content), 0,
    )  # fmt: skip


def compressed(source: bytes) -> bytes:
    """A compressed container ([MS-OVBA] 2.4.1.3.6): literals and copies, as Office writes them."""
    out = bytearray(b"\x01")
    for start in range(0, len(source), 4096):
        body = _compressed_chunk(source[start : start + 4096])
        out += struct.pack("<H", 0xB000 | len(body) - 1) + body
    return bytes(out)


def _compressed_chunk(chunk: bytes) -> bytes:
    body = bytearray()
    at = 0
    while at < len(chunk):
        flags, tokens = 0, bytearray()
        for bit in range(8):
            if at >= len(chunk):
                break
            offset_bits = max((at - 1).bit_length(), 4) if at else 4
            longest = (1 << 16 - offset_bits) + 2
            length = min(longest, len(chunk) - at, 32)
            place = -1
            while length >= 3 and (place := chunk.rfind(chunk[at : at + length], 0, at)) < 0:
                length -= 1
            if length < 3 or place < 0:
                tokens.append(chunk[at])
                at += 1
                continue
            flags |= 1 << bit
            tokens += struct.pack("<H", at - place - 1 << 16 - offset_bits | length - 3)
            at += length
        body += bytes([flags]) + tokens
    return bytes(body)


def raw_container(source: bytes) -> bytes:
    """A container whose chunks are not compressed: allowed, written by nobody but who hides."""
    out = bytearray(b"\x01")
    for start in range(0, len(source), 4096):
        out += struct.pack("<H", 0x3FFF) + source[start : start + 4096].ljust(4096, b"\0")
    return bytes(out)


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HI", kind, len(content)) + content


def module_text(name: str, code: str) -> bytes:
    return f'Attribute VB_Name = "{name}"\r\n{code}'.replace("\n", "\r\n").encode("latin-1")


def vba_streams(
    modules: dict[str, str], prefix: str = "", cache: bytes = bytes(64), sources: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """The streams of a project. `sources` stands in for compressed source, for what is broken on purpose."""
    directory = _record(1, struct.pack("<I", 1)) + _record(3, struct.pack("<H", 1252)) + _record(4, b"VBAProject")
    directory += struct.pack("<HIIH", 9, 4, 1, 2) + _record(0x0F, struct.pack("<H", len(modules)))
    for name in modules:
        raw, wide = name.encode("latin-1"), name.encode("utf-16-le")
        directory += _record(0x19, raw) + _record(0x47, wide) + _record(0x1A, raw) + _record(0x32, wide)
        directory += _record(0x31, struct.pack("<I", len(cache))) + _record(0x21, b"") + _record(0x2B, b"")
    directory += _record(0x10, b"")
    streams = {
        f"{prefix}VBA/{name}": cache + (sources or {}).get(name, compressed(module_text(name, code)))
        for name, code in modules.items()
    }
    return {
        f"{prefix}PROJECT": b'ID="{0}"\r\nModule=' + ",".join(modules).encode("latin-1"),
        f"{prefix}VBA/_VBA_PROJECT": b"\xcc\x61\xff\xff\0\0\0",
        f"{prefix}VBA/dir": compressed(directory),
        **streams,
    }


def vba_project(**modules: str) -> bytes:
    """A vbaProject.bin with these modules."""
    return compound(vba_streams(modules))


def native_package(name: str, content: bytes) -> bytes:
    """An `\\x01Ole10Native` stream as the Windows packager writes it."""
    path = f"C:\\{name}".encode("latin-1") + b"\0"
    body = b"\x02\0" + name.encode("latin-1") + b"\0" + path + struct.pack("<HHI", 0, 3, len(path)) + path
    body += struct.pack("<I", len(content)) + content
    return struct.pack("<I", len(body)) + body


def object1(class_name: str, content: bytes) -> bytes:
    """An embedded OLE1 object ([MS-OLEDS] 2.2.5)."""
    raw = class_name.encode("latin-1") + b"\0"
    head = struct.pack("<III", 0x501, 2, len(raw)) + raw + struct.pack("<II", 0, 0)
    return head + struct.pack("<I", len(content)) + content
