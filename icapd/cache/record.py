"""Verdict records: what disk and memcached hold, signed so that nobody without our secret can have written it.

Pure: bytes in, values out; the time is given. Knows nothing of servers, files or tiers.

A record is, in this order: version (1 byte), packing (1 byte), keyed BLAKE2b digest (32 bytes), payload: MessagePack
of `Stored`, deflated where that is worth it. The digest covers all the rest and the whole cache key, so a true record
copied under another key does not verify, and nothing is inflated that a stranger wrote.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import zlib

import msgspec

from icapd.errors import IcapdError
from icapd.scan.model import ERROR_KINDS, CacheKey, Outcome, ScanReport, Verdict

RECORD_VERSION = 2
DIGEST_BYTES = 32
HEADER_BYTES = 2 + DIGEST_BYTES
MAX_RECORD_BYTES = 128 * 1024
"""A report with a thousand findings is about 100 KiB; anything past this, packed or not, is not worth moving."""

MAX_PAYLOAD_BYTES = MAX_RECORD_BYTES - HEADER_BYTES
DEFLATE_FROM_BYTES = 2048
"""An ordinary report has 500 bytes, and would take 20 us to save 200 of them; ten findings make it past this."""

PLAIN = 0
DEFLATED = 1

MIN_SECRET_BYTES = 32


class RefusalReason(enum.StrEnum):
    """Why a record was not believed."""

    TOO_LARGE = "too-large"
    TRUNCATED = "truncated"
    VERSION = "version"
    SIGNATURE = "signature"
    MALFORMED = "malformed"
    EXPIRED = "expired"


class RecordRefused(IcapdError):
    """A record cannot be used; `reason` is one of the closed set."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Stored(msgspec.Struct, frozen=True):
    """A report and the end of its life.

    Units: `expires_at_s` is Unix time, because nodes with different monotonic clocks share records.
    """

    expires_at_s: int
    report: ScanReport


def is_storable(report: ScanReport) -> bool:
    """Whether a report states facts about the body, and not about what went wrong while we looked at it."""
    return (
        report.verdict not in (Verdict.ERROR, Verdict.NOT_SCANNED)
        and all(each.outcome not in (Outcome.FAILED, Outcome.TIMED_OUT) for each in report.reports)
        and all(finding.kind not in ERROR_KINDS for finding in report.findings)
    )


def memcached_key(key: CacheKey) -> bytes:
    """Where a record lives in memcached: printable, without spaces, always shorter than 250 bytes.

    Ruleset and coding come in as a digest: the coding is the peer's text, of any length and with any byte in it.
    A collision there does no harm, because the signature covers the full key.
    """
    namespace = hashlib.blake2b(msgspec.msgpack.encode((key.ruleset, key.coding)), digest_size=16)
    return b"icapd:%d:%s:%s:%d" % (
        RECORD_VERSION,
        namespace.hexdigest().encode(),
        key.sha256.hex().encode(),
        key.size_bytes,
    )


class Signer:
    """Seals and opens records with one secret.

    State: a BLAKE2b context that has already taken the secret in; every record works on a copy of it.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret needs at least {MIN_SECRET_BYTES} bytes")
        # BLAKE2b takes at most 64 bytes of key; a longer secret must not lose its tail.
        key = hashlib.blake2b(secret, digest_size=64).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES, person=b"icapd verdict")
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Stored)

    def seal(self, key: CacheKey, report: ScanReport, expires_at_s: int) -> bytes:
        """The record of a report under a key.

        Raises: RecordRefused(TOO_LARGE); ValueError for a report that must never be stored, a bug of ours.
        """
        if not is_storable(report):
            raise ValueError(f"a {report.verdict} report with failures in it, or without a scan, cannot be stored")
        payload = self._encoder.encode(Stored(expires_at_s, report))
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise RecordRefused(RefusalReason.TOO_LARGE)
        packing = PLAIN
        if len(payload) >= DEFLATE_FROM_BYTES:
            payload, packing = zlib.compress(payload, level=1), DEFLATED
        return bytes((RECORD_VERSION, packing)) + self._digest(key, packing, payload) + payload

    def open_record(self, key: CacheKey, data: bytes, now_s: float) -> Stored:
        """What a record says, if it is ours, meant for this key, and still alive.

        Raises: RecordRefused.
        """
        if len(data) > MAX_RECORD_BYTES:
            raise RecordRefused(RefusalReason.TOO_LARGE)
        if len(data) <= HEADER_BYTES:
            raise RecordRefused(RefusalReason.TRUNCATED)
        if data[0] != RECORD_VERSION:
            raise RecordRefused(RefusalReason.VERSION)
        packing, payload = data[1], data[HEADER_BYTES:]
        if not hmac.compare_digest(data[2:HEADER_BYTES], self._digest(key, packing, payload)):
            raise RecordRefused(RefusalReason.SIGNATURE)
        # Only a node with our secret gets this far; what fails below was written by another release or by a bug.
        if packing != PLAIN:
            payload = _inflated(packing, payload)
        try:
            stored = self._decoder.decode(payload)
        except msgspec.DecodeError:
            raise RecordRefused(RefusalReason.MALFORMED) from None
        if not is_storable(stored.report):
            raise RecordRefused(RefusalReason.MALFORMED)
        if stored.expires_at_s <= now_s:
            raise RecordRefused(RefusalReason.EXPIRED)
        return stored

    def _digest(self, key: CacheKey, packing: int, payload: bytes) -> bytes:
        # A MessagePack array ends itself, so no two keys and payloads run together to the same bytes.
        digest = self._keyed.copy()
        digest.update(
            self._encoder.encode((RECORD_VERSION, packing, key.sha256, key.size_bytes, key.ruleset, key.coding))
        )
        digest.update(payload)
        return digest.digest()


def _inflated(packing: int, payload: bytes) -> bytes:
    """Raises: RecordRefused, TOO_LARGE before more than MAX_PAYLOAD_BYTES are made."""
    if packing != DEFLATED:
        raise RecordRefused(RefusalReason.MALFORMED)
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(payload, MAX_PAYLOAD_BYTES + 1)
    except zlib.error:
        raise RecordRefused(RefusalReason.MALFORMED) from None
    if len(inflated) > MAX_PAYLOAD_BYTES:
        raise RecordRefused(RefusalReason.TOO_LARGE)
    if not stream.eof or stream.unused_data:
        raise RecordRefused(RefusalReason.MALFORMED)
    return inflated
