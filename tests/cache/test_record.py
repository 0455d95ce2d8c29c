"""Records: what is sealed opens again under its own key, and under nothing else."""

from __future__ import annotations

import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.cache.record import (
    DEFLATE_FROM_BYTES,
    DEFLATED,
    DIGEST_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_RECORD_BYTES,
    PLAIN,
    RECORD_VERSION,
    RecordRefused,
    RefusalReason,
    Signer,
    Stored,
    is_storable,
    memcached_key,
)
from icapd.scan.model import ERROR_KINDS, CacheKey, EngineReport, FindingKind, Outcome, ScanReport, Verdict
from tests.cache.samples import (
    SECRET,
    cache_key,
    clean_report,
    malicious_report,
    report_failing_with,
    report_with,
)

NOW_S = 1_800_000_000
KEY = cache_key(coding="gzip")
SIGNER = Signer(SECRET)
RECORD = SIGNER.seal(KEY, malicious_report(), NOW_S + 60)

keys = st.builds(
    CacheKey,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63),
    st.text(max_size=300),
    st.text(max_size=300),
)


def refusal(data: bytes, key: CacheKey = KEY, now_s: float = NOW_S, signer: Signer = SIGNER) -> RefusalReason:
    with pytest.raises(RecordRefused) as refused:
        signer.open_record(key, data, now_s)
    return refused.value.reason


def signed(payload: bytes, packing: int = PLAIN) -> bytes:
    """A payload that our own secret signed, as another release of icapd might."""
    return bytes((RECORD_VERSION, packing)) + SIGNER._digest(KEY, packing, payload) + payload


@pytest.mark.parametrize("report", [clean_report(), malicious_report(), report_with(Verdict.UNSCANNABLE)])
def test_opens_what_it_sealed(report: ScanReport) -> None:
    record = SIGNER.seal(KEY, report, NOW_S + 60)
    assert SIGNER.open_record(KEY, record, NOW_S) == Stored(NOW_S + 60, report)


def test_another_node_with_the_same_secret_opens_it() -> None:
    assert Signer(SECRET).open_record(KEY, RECORD, NOW_S).report == malicious_report()


@given(st.integers(0, len(RECORD) - 1), st.integers(1, 255))
def test_any_changed_byte_refuses(position: int, change: int) -> None:
    forged = bytearray(RECORD)
    forged[position] ^= change
    expected = RefusalReason.VERSION if position == 0 else RefusalReason.SIGNATURE
    assert refusal(bytes(forged)) is expected


@given(st.integers(0, len(RECORD) - 1))
def test_any_truncation_refuses(length: int) -> None:
    expected = RefusalReason.TRUNCATED if length <= HEADER_BYTES else RefusalReason.SIGNATURE
    assert refusal(RECORD[:length]) is expected


@given(st.binary(max_size=400))
def test_foreign_bytes_refuse(data: bytes) -> None:
    assert refusal(data) in {RefusalReason.TRUNCATED, RefusalReason.VERSION, RefusalReason.SIGNATURE}


def test_appended_bytes_refuse() -> None:
    assert refusal(RECORD + b"\0") is RefusalReason.SIGNATURE


@pytest.mark.parametrize(
    "other",
    [
        cache_key("another body", coding="gzip"),
        cache_key(coding="gzip", size_bytes=14_001),
        cache_key(coding="gzip", ruleset="r2"),
        cache_key(coding="br"),
        cache_key(ruleset="r1gzip", coding=""),
    ],
)
def test_a_record_copied_under_another_key_refuses(other: CacheKey) -> None:
    assert refusal(RECORD, key=other) is RefusalReason.SIGNATURE


@given(keys, keys)
def test_no_two_keys_share_a_signature_or_a_place(one: CacheKey, other: CacheKey) -> None:
    assert (SIGNER._digest(one, PLAIN, b"") == SIGNER._digest(other, PLAIN, b"")) == (one == other)
    assert (memcached_key(one) == memcached_key(other)) == (one == other)


def test_another_secret_refuses() -> None:
    assert refusal(RECORD, signer=Signer(SECRET[::-1])) is RefusalReason.SIGNATURE


def test_all_of_a_long_secret_counts() -> None:
    long_secret = b"s" * 200
    record = Signer(long_secret + b"1").seal(KEY, clean_report(), NOW_S + 60)
    assert refusal(record, signer=Signer(long_secret + b"2")) is RefusalReason.SIGNATURE


def test_secrets_shorter_than_32_bytes_are_not_taken() -> None:
    Signer(b"s" * 32)
    with pytest.raises(ValueError, match="at least 32"):
        Signer(b"s" * 31)


def test_lives_until_its_last_second() -> None:
    assert SIGNER.open_record(KEY, RECORD, NOW_S + 59.9).expires_at_s == NOW_S + 60
    assert refusal(RECORD, now_s=NOW_S + 60) is RefusalReason.EXPIRED


def report_of(reason_bytes: int) -> ScanReport:
    return ScanReport(Verdict.CLEAN, reports=(EngineReport("yara", Outcome.SKIPPED, reason="x" * reason_bytes),))


def report_packed_in(payload_bytes: int) -> ScanReport:
    """A report whose MessagePack has exactly so many bytes."""
    probe_bytes = payload_bytes - 1000
    around_bytes = len(msgspec.msgpack.encode(Stored(NOW_S + 60, report_of(probe_bytes)))) - probe_bytes
    return report_of(payload_bytes - around_bytes)


def test_the_ceiling_holds_for_sealing() -> None:
    largest = SIGNER.seal(KEY, report_packed_in(MAX_PAYLOAD_BYTES), NOW_S + 60)
    assert SIGNER.open_record(KEY, largest, NOW_S).report.verdict is Verdict.CLEAN
    with pytest.raises(RecordRefused) as refused:
        SIGNER.seal(KEY, report_packed_in(MAX_PAYLOAD_BYTES + 1), NOW_S + 60)
    assert refused.value.reason is RefusalReason.TOO_LARGE


def test_the_ceiling_holds_for_opening() -> None:
    largest = signed(msgspec.msgpack.encode(Stored(NOW_S + 60, report_packed_in(MAX_PAYLOAD_BYTES))))
    assert len(largest) == MAX_RECORD_BYTES
    with pytest.raises(RecordRefused) as refused:
        SIGNER.open_record(KEY, signed(largest[HEADER_BYTES:] + b"x"), NOW_S)
    assert refused.value.reason is RefusalReason.TOO_LARGE


def test_large_payloads_are_deflated_and_small_ones_are_not() -> None:
    small = SIGNER.seal(KEY, report_packed_in(DEFLATE_FROM_BYTES - 1), NOW_S + 60)
    large = SIGNER.seal(KEY, report_packed_in(DEFLATE_FROM_BYTES), NOW_S + 60)
    assert (small[1], len(small)) == (PLAIN, HEADER_BYTES + DEFLATE_FROM_BYTES - 1)
    assert large[1] == DEFLATED
    assert len(large) < DEFLATE_FROM_BYTES / 4
    assert SIGNER.open_record(KEY, large, NOW_S).report == report_packed_in(DEFLATE_FROM_BYTES)


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    """Even one that our own secret signed."""
    bomb = zlib.compress(b"\0" * (64 * 1024 * 1024))
    assert len(bomb) < MAX_PAYLOAD_BYTES
    tracemalloc.start()
    try:
        assert refusal(signed(bomb, DEFLATED)) is RefusalReason.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_PAYLOAD_BYTES
    finally:
        tracemalloc.stop()


def test_one_byte_past_the_ceiling_is_a_bomb() -> None:
    """At the ceiling it is inflated, and found to be no report."""
    assert refusal(signed(zlib.compress(b"\xc1" * MAX_PAYLOAD_BYTES), DEFLATED)) is RefusalReason.MALFORMED
    assert refusal(signed(zlib.compress(b"\xc1" * (MAX_PAYLOAD_BYTES + 1)), DEFLATED)) is RefusalReason.TOO_LARGE


SOUND = zlib.compress(msgspec.msgpack.encode(Stored(NOW_S + 60, clean_report())))


@pytest.mark.parametrize(
    ("payload", "packing"), [(SOUND[:-1], DEFLATED), (SOUND + b"x", DEFLATED), (b"x" * 99, DEFLATED), (SOUND, 2)]
)
def test_a_signed_payload_that_does_not_inflate_refuses(payload: bytes, packing: int) -> None:
    assert refusal(signed(payload, packing)) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        msgspec.msgpack.encode({"expires_at_s": NOW_S + 60}),
        msgspec.msgpack.encode(Stored(NOW_S + 60, clean_report())).replace(b"CLEAN", b"GREAT"),
        msgspec.msgpack.encode(Stored(NOW_S + 60, report_with(Verdict.ERROR))),
        msgspec.msgpack.encode(Stored(NOW_S + 60, report_with(Verdict.CLEAN, Outcome.FAILED))),
    ],
)
def test_a_signed_payload_that_is_no_storable_report_refuses(payload: bytes) -> None:
    assert refusal(signed(payload)) is RefusalReason.MALFORMED


NOT_STORABLE = [
    report_with(Verdict.ERROR),
    report_with(Verdict.NOT_SCANNED),
    report_with(Verdict.MALICIOUS, Outcome.FAILED),
    report_with(Verdict.CLEAN, Outcome.TIMED_OUT),
    *(report_failing_with(kind) for kind in sorted(ERROR_KINDS)),
]


@pytest.mark.parametrize("report", NOT_STORABLE)
def test_failures_cannot_be_sealed(report: ScanReport) -> None:
    assert not is_storable(report)
    with pytest.raises(ValueError, match="cannot be stored"):
        SIGNER.seal(KEY, report, NOW_S + 60)


def test_findings_that_are_facts_can_be_sealed() -> None:
    facts = [kind for kind in FindingKind if kind not in ERROR_KINDS]
    assert all(is_storable(report_failing_with(kind)) for kind in facts)


@given(keys)
def test_memcached_keys_are_printable_and_short(key: CacheKey) -> None:
    name = memcached_key(key)
    assert len(name) < 250
    assert all(0x21 <= byte <= 0x7E for byte in name)


def test_a_record_is_a_version_a_packing_a_digest_and_a_payload() -> None:
    assert RECORD[:2] == bytes((RECORD_VERSION, PLAIN))
    assert msgspec.msgpack.decode(RECORD[2 + DIGEST_BYTES :], type=Stored).report == malicious_report()
