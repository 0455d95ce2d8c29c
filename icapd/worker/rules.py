"""The rules as one anonymous file that all processes of a configuration read: what scanners are built from, then the
tables that fronts look URLs up in.

Scanners have their own copy of the first part, made once in their nursery. The second is mapped read-only, so that a
million domains are in memory once, however many fronts there are. The file is sealed: what one process has tried is
what all others read.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

import msgspec
from msgspec import structs

from icapd.plugins import EngineSnapshot, RulesetSnapshot, build_url_engine, decode_snapshot, encode_snapshot
from icapd.scan.engine_api import UrlEngine
from icapd.worker.memfd import make_sealable, seal

_HEAD: Final = struct.Struct("<QQ")
"""The size of the snapshot, and of the places that follow it."""
_ALIGNMENT: Final = mmap.ALLOCATIONGRANULARITY

_Places = list[tuple[EngineSnapshot, dict[str, tuple[int, int]]]]
"""Each engine that judges URLs, and of its tables: offset and size in the file."""
_decode_places: Final = msgspec.msgpack.Decoder(_Places).decode


def make_rules(snapshot: RulesetSnapshot) -> int:
    """A descriptor of the file, for all who are started with it."""
    descriptor = blank_rules()
    write_rules(descriptor, snapshot)
    return descriptor


def blank_rules() -> int:
    """A descriptor of a file that `write_rules` is still to fill, once."""
    return make_sealable("icapd-rules")


def write_rules(descriptor: int, snapshot: RulesetSnapshot) -> None:
    """Fills the file and seals it."""
    bare = tuple(structs.replace(engine, material={}) for engine in snapshot.url_engines)
    first = encode_snapshot(structs.replace(snapshot, url_engines=bare))
    places: _Places = [
        (engine, {name: (0, len(table)) for name, table in whole.material.items()})
        for engine, whole in zip(bare, snapshot.url_engines, strict=True)
    ]
    offset = 0
    for _, tables in places:
        for name, (_, size_bytes) in tables.items():
            tables[name] = (offset, size_bytes)
            offset = _aligned(offset + size_bytes)
    encoded = msgspec.msgpack.encode(places)
    _write(descriptor, b"".join((_HEAD.pack(len(first), len(encoded)), first, encoded)), 0)
    start = _start(len(first), len(encoded))
    for whole, (_, tables) in zip(snapshot.url_engines, places, strict=True):
        for name, (at, _) in tables.items():
            _write(descriptor, whole.material[name], start + at)
    seal(descriptor)


def read_rules(descriptor: int) -> RulesetSnapshot:
    """What scanners are built from; engines that judge URLs are without their tables."""
    first_bytes, _ = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
    return decode_snapshot(_read(descriptor, first_bytes, _HEAD.size))


def map_url_engines(descriptor: int) -> tuple[UrlEngine, ...]:
    """Engines that judge URLs, with their tables mapped; these stay when the descriptor is closed.

    Raises: ConfigurationError.
    """
    first_bytes, places_bytes = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
    places = _decode_places(_read(descriptor, places_bytes, _HEAD.size + first_bytes))
    start = _start(first_bytes, places_bytes)
    engines = []
    for engine, tables in places:
        mapped = {
            # Private, as older kernels refuse others of what is sealed; nobody writes, so that all share the memory.
            name: mmap.mmap(descriptor, size_bytes, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=start + offset)
            for name, (offset, size_bytes) in tables.items()
            if size_bytes
        }
        if mapped:  # else it has no list to ask
            engines.append(build_url_engine(engine, mapped))
    return tuple(engines)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _start(first_bytes: int, places_bytes: int) -> int:
    return _aligned(_HEAD.size + first_bytes + places_bytes)


def _read(descriptor: int, size_bytes: int, offset: int) -> bytes:
    pieces = []
    while size_bytes:
        piece = os.pread(descriptor, min(size_bytes, 1 << 26), offset)
        if not piece:
            raise EOFError("the rules are cut off")
        pieces.append(piece)
        offset += len(piece)
        size_bytes -= len(piece)
    return b"".join(pieces)


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
