"""OpenPGP messages: what is encrypted is said to be, by the packet that comes first (RFC 9580 §4.3)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.model import Budget, Finding, Sample

_ARMOUR: Final = re.compile(
    rb"\s{0,64}-----BEGIN PGP MESSAGE-----[ \t]*\r?\n(?:[^\r\n]{1,256}\r?\n){0,8}[ \t]*\r?\n([A-Za-z0-9+/]{4})"
)
_HEAD_BYTES: Final = 4096
_SESSION_KEYS: Final = {1: (2, 3, 6), 3: (4, 5, 6)}
"""Packets that a session key comes in, and the versions there are of them."""
_FIRST_BYTES: Final = (b"\x84", b"\x85", b"\x8c", b"\xc1", b"\xc3")
_COMPRESSED: Final = 8


def matches(sample: Sample) -> bool:
    return bool(_first_packet(sample))


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    packet = _first_packet(sample)
    if packet:
        say = findings.not_opened if packet == _COMPRESSED else findings.encrypted
        yield say("pgp", sample.trail)


def _first_packet(sample: Sample) -> int:
    """The first packet of a message that hides its content: of a session key or compressed; 0 for anything else."""
    head = sample.head(64)
    if head.startswith(_FIRST_BYTES):
        return _session_key(head)
    if not head.lstrip().startswith(b"-----BEGIN PGP MESSAGE"):
        return 0
    armour = _ARMOUR.match(sample.head(_HEAD_BYTES))
    first = binascii.a2b_base64(armour[1])[0] if armour else 0
    return (first & 0x3F if first & 0x40 else first >> 2 & 0x0F) or 1


def _session_key(head: bytes) -> int:
    """The packet, if version and algorithm are such as there are: in binary it has no other mark."""
    tag, at = (head[0] & 0x3F, 2) if head[0] & 0x40 else (head[0] >> 2 & 0x0F, 2 + (head[0] & 3))
    if head[0] & 0x40 and head[1:2] >= b"\xc0":
        at = 3
    version, rest = head[at : at + 1], head[at + 1 : at + 12]
    if len(rest) < 11 or version[0] not in _SESSION_KEYS[tag]:
        return 0
    if tag == 1:
        return tag if version[0] == 6 or rest[8] in (1, 2, 16, 18, 25, 26) else 0
    return tag if version[0] != 4 or (1 <= rest[0] <= 13 and rest[1] in (0, 1, 3, 4)) else 0
