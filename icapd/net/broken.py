"""Remembers whose transfer a hit cut off behind its head: a retry gets the page that its first try could not show.

Only for GET, whose repetition asks for the same content again, and only for the client, user and service it happened
to. In memory that all fronts share, as the retry comes to any of them.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import structs

from icapd.icap import RequestHead
from icapd.net.record import Claims
from icapd.policy.decide import Decides
from icapd.policy.facts import Decision
from icapd.scan.model import ScanReport, Verdict

SLOT_BYTES: Final = 2048
MEMORY_BYTES: Final = 4096 * SLOT_BYTES
"""Of the slots in it, the first has the time until which any entry counts. Of two requests that fall into one slot,
the newer is remembered."""

_OF_CONTENT = frozenset({Verdict.MALICIOUS, Verdict.FORBIDDEN, Verdict.SUSPICIOUS, Verdict.UNSCANNABLE})
"""Verdicts that a second try would get again; an error may be over by then."""
_SLOT = struct.Struct("<16sIH")
"""Whose it is, and checksum and length of the record behind: other fronts may write at any time."""
_RECORD_BYTES_MAX: Final = SLOT_BYTES - _SLOT.size
_UNTIL = struct.Struct("=d")


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """`until` is a reading of CLOCK_MONOTONIC, which all processes share."""

    until: float
    report: ScanReport
    sha256: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class BrokenTransfers:
    """State: `_memory`, zeros at first, with a slot for each remembered request."""

    def __init__(self, memory: mmap.mmap, ttl_s: float, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._slots = len(memory) // SLOT_BYTES - 1
        self._ttl_s = ttl_s
        self._clock = clock

    def remember(self, head: RequestHead, claims: Claims, report: ScanReport) -> None:
        """Notes that this request's answer was cut off because of `report`."""
        if self._ttl_s <= 0 or report.verdict not in _OF_CONTENT or not _can_repeat(claims):
            return
        until = self._clock() + self._ttl_s
        record = _record_of(until, report, claims.facts.sha256)
        if len(record) > _RECORD_BYTES_MAX:
            return
        key = _key(head, claims)
        self._write(self._place(key), _SLOT.pack(key, zlib.crc32(record), len(record)) + record)
        if until > self._until:
            self._write(0, _UNTIL.pack(until))

    def decide(self, head: RequestHead, claims: Claims, policy: Decides) -> Decision | None:
        """The block that the same request's last try could not show, and its report with the facts.

        None where there was none, or where policy does not block it any more: then the body is judged anew.
        """
        if self._until <= self._clock() or not _can_repeat(claims):
            return None
        key = _key(head, claims)
        record = self._read(key)
        if record is None:
            return None
        facts = claims.facts
        if record.until > self._clock():
            facts.report, facts.sha256 = record.report, record.sha256
            decision = policy.decide(facts)
            if decision.refuses:
                return decision
        facts.report, facts.sha256 = None, b""
        self._write(self._place(key), bytes(_SLOT.size))
        return None

    @property
    def _until(self) -> float:
        until: float = _UNTIL.unpack_from(self._memory)[0]
        return until

    def _place(self, key: bytes) -> int:
        """Where the slot of this key begins."""
        return (1 + int.from_bytes(key[:4], "little") % self._slots) * SLOT_BYTES

    def _read(self, key: bytes) -> _Record | None:
        """What stands under this key; None also for what was read while another front wrote it."""
        place = self._place(key)
        its_key, checksum, length = _SLOT.unpack_from(self._memory, place)
        start = place + _SLOT.size
        if its_key != key or length > _RECORD_BYTES_MAX:
            return None
        record = self._memory[start : start + length]
        return _decode(record) if zlib.crc32(record) == checksum else None

    def _write(self, place: int, data: bytes) -> None:
        self._memory[place : place + len(data)] = data


def _record_of(until: float, report: ScanReport, sha256: bytes) -> bytes:
    """With as many findings as there is room for, worst first; without any, the verdict stands for them."""
    findings = report.findings
    identity = structs.replace(report.identity, description="")
    while True:
        short = structs.replace(report, findings=findings, identity=identity, reports=())
        record = _encode(_Record(until, short, sha256))
        if len(record) <= _RECORD_BYTES_MAX or not findings:
            return record
        findings = findings[: len(findings) // 2]


def _can_repeat(claims: Claims) -> bool:
    return claims.is_response and claims.http.method == "GET"


def _key(head: RequestHead, claims: Claims) -> bytes:
    """Of service, client, user, host (an origin-form line does not have it) and the request line, query and all."""
    line = head.http_request.partition(b"\r\n")[0]
    named = (claims.facts.service or "", claims.client, claims.user, claims.http.host, line)
    return hashlib.blake2b(_encode(named), digest_size=16).digest()
