"""CMS (RFC 5652): what is encrypted is said to be; what is signed, digested, compressed or only wrapped is taken out.

Read as programs read it, which take any encoding that BER allows (X.690 §8): tags and lengths in long forms, ends
that are told behind, and strings in pieces inside pieces. Every element is looked at once.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engines.embedded import findings
from engines.embedded.limits import EmbeddedOptions
from engines.inflate import ZLIB, Damaged, Inflater
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer, Finding, Sample

PIECES: Final = "embedded.max_cms_pieces"
MAX_ELEMENTS: Final = 200_000
"""On the way to the content and in it: a fifth of a second's work. Programs write pieces of a thousand bytes."""
MAX_NESTING: Final = 32
"""Of strings in pieces; OpenSSL reads five."""
_PKCS7: Final = bytes.fromhex("2a864886f70d0107")
_SMIME: Final = bytes.fromhex("2a864886f70d01091001")
_DATA: Final = _PKCS7 + b"\x01"
_COMPRESSED: Final = _SMIME + b"\x09"
_AUTHENTICATED: Final = _SMIME + b"\x02"
_READABLE: Final = {
    _DATA: "data",
    _PKCS7 + b"\x02": "signed",
    _PKCS7 + b"\x05": "digested",
    _COMPRESSED: "compressed",
}
"""Contents that anyone may read, and what they are called."""
_HIDDEN: Final = frozenset({_PKCS7 + b"\x03", _PKCS7 + b"\x04", _PKCS7 + b"\x06", _SMIME + b"\x17"})
"""Enveloped, signed and enveloped, encrypted; enveloped and authenticated (RFC 5083)."""
_KINDS: Final = frozenset({*_READABLE, *_HIDDEN, _AUTHENTICATED})
_OCTETS, _OID, _SEQUENCE, _CONTEXT_0 = 0x04, 0x06, 0x30, 0xA0
_CONSTRUCTED: Final = 0x20
_LONG_TAG: Final = 0x1F
_LONG_TAG_BYTES: Final = 16
_FIRST_BYTES: Final = (bytes([_SEQUENCE]), bytes([_SEQUENCE | _LONG_TAG]))
_END: Final = b"\0\0"
_OID_BYTES: Final = 16
_BLOCK_BYTES: Final = 256 * 1024


class _Malformed(IndexError):
    """What is said of an element cannot be; as for bytes that are missing."""


def matches(sample: Sample) -> bool:
    return bool(_kind(sample.data))


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the content; nothing where a signature stands alone."""
    kind = _kind(sample.data)
    if kind in _READABLE:
        yield from _readable(sample, kind, budget)
    elif kind == _AUTHENTICATED:
        yield findings.not_opened("cms", sample.trail)
    elif kind:
        yield findings.encrypted("cms", sample.trail)


def _readable(sample: Sample, kind: bytes, budget: Budget) -> Iterator[Sample | Finding]:
    out = io.BytesIO()
    is_whole = True
    reader = _Reader(sample.data, budget, MAX_ELEMENTS)
    try:
        at = reader.content_at(kind)
        if at:
            reader.copy_octets(at, out)
    except IndexError:
        is_whole = False
    content = out.getvalue()
    if content and kind == _COMPRESSED:
        content, is_inflated = _inflated(content, budget)
        is_whole &= is_inflated
    if content:
        budget.take_member()
        yield sample.member(content, _READABLE[kind])
    if not is_whole:
        yield findings.corrupt("cms", sample.trail)


def _kind(data: Buffer) -> bytes:
    """The type that a ContentInfo declares (RFC 5652 §3), if it is known here; empty for anything else."""
    if data[:1] not in _FIRST_BYTES:
        return b""
    try:
        kind, _ = _oid(data, _inside(data, 0, _SEQUENCE)[0])
    except IndexError:
        return b""
    return kind if kind in _KINDS else b""


def _element(data: Buffer, at: int) -> tuple[int, int, int]:
    """The tag at a place, where its content begins and ends; -1 for an end that is told behind it.

    Raises: IndexError past the end; _Malformed.
    """
    tag = data[at]
    at += 1
    if tag & _LONG_TAG == _LONG_TAG:
        number, more, most = 0, 0x80, at + _LONG_TAG_BYTES
        while more and at < most:
            number = min(number << 7 | data[at] & 0x7F, _LONG_TAG)
            more = data[at] & 0x80
            at += 1
        tag = tag & ~_LONG_TAG | number
    length = data[at]
    at += 1
    if length == 0x80:
        if not tag & _CONSTRUCTED:
            raise _Malformed
        return tag, at, -1
    if length < 0x80:
        return tag, at, at + length
    start = at + (length & 0x7F)
    return tag, start, start + int.from_bytes(data[at:start], "big")


def _inside(data: Buffer, at: int, wanted: int) -> tuple[int, int]:
    """Where the content of an element begins and ends. Raises: IndexError; _Malformed when it has another tag."""
    tag, start, end = _element(data, at)
    if tag != wanted:
        raise _Malformed
    return start, end


def _oid(data: Buffer, at: int) -> tuple[bytes, int]:
    """An OBJECT IDENTIFIER's content, and where it ends. Raises: IndexError; _Malformed."""
    start, end = _inside(data, at, _OID)
    oid = bytes(data[start : min(end, start + _OID_BYTES)])
    if len(oid) < min(end - start, _OID_BYTES):
        raise _Malformed
    return oid, end


@dataclass(slots=True)
class _Reader:
    """Goes through one structure. State: how many elements may still be looked at."""

    data: Buffer
    budget: Budget
    elements_left: int

    def content_at(self, kind: bytes) -> int:
        """Where the string begins that is the content; 0 where there is none, or where it is no string.

        Raises: IndexError when it is cut short or malformed; LimitReached.
        """
        data = self.data
        at, end = _inside(data, 0, _SEQUENCE)
        if kind != _DATA:
            at, _ = _inside(data, self._behind(at), _CONTEXT_0)
            at, _ = _inside(data, at, _SEQUENCE)
            # The version, and the digests or the algorithm.
            at, end = _inside(data, self._behind(self._behind(at)), _SEQUENCE)
        inner, at = _oid(data, at)
        if at == end or (end < 0 and data[at : at + 2] == _END):
            return 0
        at, _ = _inside(data, at, _CONTEXT_0)
        tag, _, _ = _element(data, at)
        if tag & ~_CONSTRUCTED == _OCTETS:
            return at
        if inner == _DATA:
            raise _Malformed
        return 0

    def copy_octets(self, at: int, out: io.BytesIO) -> None:
        """The bytes of an OCTET STRING, or of the pieces that one is made of, whatever their tags.

        Raises: IndexError when it is cut short or malformed; LimitReached.
        """
        ends: list[int] = []
        while True:
            tag, start, end = self._next(at)
            if tag & _CONSTRUCTED:
                if len(ends) == MAX_NESTING:
                    raise _Malformed
                ends.append(end)
                at = start
            elif ends and ends[-1] < 0 and start == end == at + 2 and not tag:
                ends.pop()
                at = start
            else:
                self._copy(start, end, out)
                at = end
            while ends and ends[-1] == at:
                ends.pop()
            if not ends:
                return
            if 0 <= ends[-1] < at:
                raise _Malformed

    def _behind(self, at: int) -> int:
        """Where an element ends, with all that is in it where its end is told behind it.

        Raises: IndexError; LimitReached.
        """
        opened = 0
        while True:
            tag, start, end = self._next(at)
            if not tag and start == end == at + 2:
                opened -= 1
                at = start
            elif end < 0:
                opened += 1
                at = start
            else:
                at = end
            if opened < 0:
                raise _Malformed
            if not opened:
                return at

    def _next(self, at: int) -> tuple[int, int, int]:
        self.elements_left -= 1
        if self.elements_left < 0:
            raise LimitReached(PIECES)
        if self.elements_left % 1024 == 0:
            self.budget.check_time()
        return _element(self.data, at)

    def _copy(self, start: int, end: int, out: io.BytesIO) -> None:
        piece = self.data[start:end]
        self.budget.take_bytes(len(piece))
        out.write(piece)
        if len(piece) != end - start:
            raise _Malformed


def _inflated(packed: bytes, budget: Budget) -> tuple[bytes, bool]:
    """What was compressed (RFC 3274: always zlib), as far as it can be read, and whether that is all of it.

    Raises: LimitReached, DeadlineReached.
    """
    inflater = Inflater(ZLIB)
    out = io.BytesIO()
    held_bytes_left = budget.held_bytes_left
    budget.held_bytes_left -= len(packed)
    at = 0
    is_readable = True
    try:
        while is_readable and not inflater.eof:
            budget.check_time()
            piece = inflater.unread
            if not piece:
                piece = packed[at : at + _BLOCK_BYTES]
                at += len(piece)
            try:
                block = inflater.read(piece, _BLOCK_BYTES)
            except Damaged as damage:
                block, is_readable = damage.plain, False
            budget.take_bytes(len(block))
            budget.held_bytes_left -= len(block)
            budget.check_ratio(len(packed), out.tell() + len(block))
            out.write(block)
            is_readable &= bool(piece or block)
    finally:
        budget.held_bytes_left = held_bytes_left
    return out.getvalue(), inflater.eof
