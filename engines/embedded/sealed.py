"""OpenPGP messages and CMS: what is encrypted is said to be; what CMS only signs is taken out of it.

Only the heads are read: which packet of OpenPGP comes first (RFC 9580 §4.3), which content CMS declares (RFC 5652
§3), and the OCTET STRING of signed content, whole or in pieces (§5.2).
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Iterator
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer, Finding, Sample

PIECES: Final = "embedded.max_cms_pieces"
MAX_PIECES: Final = 200_000
"""Of one signed content: a fifth of a second's work. Programs write pieces of a thousand bytes."""
_ARMOUR: Final = re.compile(
    rb"\s{0,64}-----BEGIN PGP MESSAGE-----[ \t]*\r?\n(?:[^\r\n]{1,256}\r?\n){0,8}[ \t]*\r?\n([A-Za-z0-9+/]{4})"
)
_HEAD_BYTES: Final = 4096
_SESSION_KEYS: Final = {1: (2, 3, 6), 3: (4, 5, 6)}
"""Packets that a session key comes in, and the versions there are of them."""
_FIRST_BYTES: Final = (b"\x84", b"\x85", b"\x8c", b"\xc1", b"\xc3")
_COMPRESSED: Final = 8
_CMS: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
_DATA, _SIGNED, _ENVELOPED, _ENCRYPTED = 1, 2, 3, 6
_CONTEXT_0, _OCTETS, _OCTETS_IN_PIECES = 0xA0, 0x04, 0x24


def matches(sample: Sample) -> bool:
    return _cms_kind(sample.data) > 0 or bool(_pgp_packet(sample))


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    kind = _cms_kind(sample.data)
    if kind == _SIGNED:
        yield from _signed(sample, budget)
    elif kind:
        yield findings.encrypted("cms", sample.trail)
    elif packet := _pgp_packet(sample):
        say = findings.not_opened if packet == _COMPRESSED else findings.encrypted
        yield say("pgp", sample.trail)


def _pgp_packet(sample: Sample) -> int:
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


def _cms_kind(data: Buffer) -> int:
    """What a ContentInfo says that it holds, as far as it says so in its first bytes; 0 for what is none."""
    if data[:1] != b"\x30":
        return 0
    head = bytes(data[:32])
    _, at, _ = _element(head, 0) if len(head) > 1 else (0, 0, 0)
    if not head.startswith(_CMS, at) or len(head) <= at + len(_CMS):
        return 0
    kind = head[at + len(_CMS)]
    return kind if kind in (_SIGNED, _ENVELOPED, _ENCRYPTED) else 0


def _element(data: Buffer, at: int) -> tuple[int, int, int]:
    """The tag at a place, where its content begins and ends; -1 for an end that is told behind it (X.690 §8.1).

    Raises: IndexError past the end.
    """
    tag, length = data[at], data[at + 1]
    if length == 0x80:
        return tag, at + 2, -1
    if length < 0x80:
        return tag, at + 2, at + 2 + length
    start = at + 2 + (length & 0x7F)
    return tag, start, start + int.from_bytes(data[at + 2 : start], "big")


def _signed(sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
    """What was signed; nothing where the signature stands alone."""
    content = io.BytesIO()
    is_whole = True
    try:
        at = _content_at(sample.data)
        if at:
            _copy_octets(sample.data, at, content, budget)
    except IndexError:
        is_whole = False
    if content.tell():
        budget.take_member()
        yield sample.member(content.getvalue(), "signed")
    if not is_whole:
        yield findings.corrupt("cms", sample.trail)


def _content_at(data: Buffer) -> int:
    """Where the signed content begins: past the ContentInfo, the version, the digests and the content's type."""
    _, at, _ = _element(data, 0)
    _, _, at = _element(data, at)
    _, at, _ = _element(data, at)
    _, at, _ = _element(data, at)
    for _ in range(2):
        at = _behind(data, at)
    _, at, _ = _element(data, at)
    _, _, at = _element(data, at)
    tag, at, _ = _element(data, at)
    return at if tag == _CONTEXT_0 else 0


def _behind(data: Buffer, at: int) -> int:
    """Where an element ends that is small or tells its length.

    Raises: IndexError for one that does neither.
    """
    _, start, end = _element(data, at)
    if end >= 0:
        return end
    closed = data.find(b"\0\0", start, start + _HEAD_BYTES)
    if closed < 0:
        raise IndexError
    return closed + 2


def _copy_octets(data: Buffer, at: int, out: io.BytesIO, budget: Budget) -> None:
    """The bytes of an OCTET STRING, or of the pieces that one is made of.

    Raises: IndexError when it is cut short; LimitReached.
    """
    tag, start, end = _element(data, at)
    if tag == _OCTETS:
        _copy(data, start, end, out, budget)
        return
    at = start
    for number in range(MAX_PIECES + 1 if tag == _OCTETS_IN_PIECES else 0):
        if at == end or data[at : at + 2] == b"\0\0":
            return
        if number % 1024 == 0:
            budget.check_time()
        _, start, at = _element(data, at)
        _copy(data, start, at, out, budget)
    if tag == _OCTETS_IN_PIECES:
        raise LimitReached(PIECES)


def _copy(data: Buffer, start: int, end: int, out: io.BytesIO, budget: Budget) -> None:
    piece = data[start:end]
    budget.take_bytes(len(piece))
    out.write(piece)
    if len(piece) != end - start:
        raise IndexError
