"""Runs the engine for embedded content over one sample, as the walk does for one level, and writes what it reads."""

from __future__ import annotations

import struct
import time
from pathlib import Path

from engines.embedded import SPEC, EmbeddedOptions
from engines.embedded.unpacker import EmbeddedUnpacker
from engines.identify.identifier import ContentIdentifier
from icapd.errors import LimitReached
from icapd.scan.model import Budget, Finding, FindingKind, Sample
from tests.support.pace import is_within

IDENTIFIER = ContentIdentifier(None)
FILE = b"MZ" + bytes(range(256)) * 8


def unpacker(options: EmbeddedOptions | None = None) -> EmbeddedUnpacker:
    options = options or EmbeddedOptions()
    built = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(built, EmbeddedUnpacker)
    return built


def unpack(
    data: bytes, options: EmbeddedOptions | None = None, budget: Budget | None = None, declared: str = ""
) -> list[Sample | Finding]:
    """Everything the engine yields; a raised limit is the last finding, as in the walk."""
    sample = Sample(data, declared_type=declared)
    sample.identity = IDENTIFIER.identify(sample)
    engine = unpacker(options)
    items: list[Sample | Finding] = []
    if not engine.opens(sample):
        return items
    try:
        items.extend(engine.unpack(sample, budget or Budget(time.monotonic() + 20)))
    except LimitReached as reached:
        items.append(Finding(FindingKind.LIMIT, reached.limit, "embedded"))
    return items


def is_cheap(data: bytes) -> bool:
    """Whether it is gone through within two seconds of CPU time, whatever comes of it."""
    started = time.process_time()
    unpack(data)
    return is_within(time.process_time() - started, 2)


def members(items: list[Sample | Finding]) -> dict[str, bytes]:
    return {item.name: bytes(item.data) for item in items if isinstance(item, Sample)}


def names(items: list[Sample | Finding]) -> list[str]:
    return [item.name for item in items if isinstance(item, Finding)]


def onenote(*files: bytes) -> bytes:
    out = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(64)
    for data in files:
        out += bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac") + struct.pack("<Q", len(data)) + bytes(12)
        out += data + bytes(-len(data) % 8) + bytes.fromhex("22a7fb71790f0b4abb13899256426b24")
    return out


def shortcut(path: str, arguments: str, appended: bytes = b"", is_unicode: bool = True) -> bytes:
    flags = 0x01 | 0x02 | 0x08 | 0x20 | (0x80 if is_unicode else 0)
    head = b"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46" + struct.pack("<I", flags)
    out = head + bytes(76 - len(head)) + struct.pack("<H", 2) + bytes(2) + struct.pack("<I", 8) + bytes(4)
    for text in (path, arguments):
        out += struct.pack("<H", len(text)) + text.encode("utf-16-le" if is_unicode else "latin-1")
    block = struct.pack("<I", 12) + bytes(8)
    return out + block + bytes(4) + appended


def tnef(*attachments: tuple[str, bytes]) -> bytes:
    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("<BII", 2, kind, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    out = b"\x78\x9f\x3e\x22\x01\x00" + attribute(0x0002800C, b"the text")
    for name, data in attachments:
        out += attribute(0x00069002, bytes(14)) + attribute(0x00018010, name.encode() + b"\x00")
        out += attribute(0x0006800F, data)
    return out
