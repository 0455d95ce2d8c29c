"""How bodies go back before their verdict, by mode: never whole, and not at all where the mode does not say so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from icapd.config.schema import Delivery
from icapd.errors import ConfigurationError
from icapd.policy.modes import compile_modes
from icapd.scan.model import EngineReport, Finding, FindingKind, Identity, Outcome
from icapd.scan.tree import Examination
from tests.net.inside import Inside, Wire
from tests.net.messages import get, ok, reqmod, respmod
from tests.support.icap_client import Request, chunk

KIB = 1024
HOLD_BACK = 64 * KIB
END = b"0\r\n\r\n"
URL = "http://site.example/file"
CLEAN = Examination(Identity("text/plain", "text"), (EngineReport("yara", Outcome.NOTHING_FOUND),), 1)
HIT = Examination(
    Identity("text/plain", "text"),
    (EngineReport("yara", Outcome.FOUND, (Finding(FindingKind.MALWARE, "Evil", "yara"),)),),
    1,
)
SQUID: dict[str, Any] = {"service": [{"path": "/respmod", "methods": ["RESPMOD"], "profile": "squid"}]}


def numbered(size: int) -> bytes:
    """Bytes of which no piece is another."""
    return b"".join(b"%07d " % number for number in range(size // 8 + 1))[:size]


def asked(inside: Inside, body: bytes, request: Request | None = None) -> Wire:
    """A client that has sent so much of a body, and not its end."""
    request = request or respmod(body, "/respmod", url=URL)
    return inside.connect(request.head("x") + chunk(body))


def end(wire: Wire) -> None:
    assert wire.protocol is not None
    wire.protocol.dataReceived(END)


def early(wire: Wire) -> bytes | None:
    """What has come of the body so far; None where not even the head has."""
    if not wire.sent:
        return None
    found = re.search(rb"Encapsulated: (?:req|res)-hdr=0, (?:req|res)-body=(\d+)\r\n\r\n", wire.sent)
    assert found is not None
    rest = wire.sent[found.end() + int(found[1]) :]
    body = b""
    while rest and not rest.startswith(END):
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    return body


def is_whole(wire: Wire) -> bool:
    return wire.sent.endswith(b"\r\n" + END)


def test_a_stream_keeps_back_its_end_until_the_verdict() -> None:
    inside = Inside(delivery={"mode": "stream"}, **SQUID)
    body = numbered(300 * KIB)
    wire = asked(inside, body[:HOLD_BACK])
    assert early(wire) is None
    assert wire.protocol is not None
    wire.protocol.dataReceived(chunk(body[HOLD_BACK : HOLD_BACK + 1]))
    assert early(wire) == body[:1]
    wire.protocol.dataReceived(chunk(body[HOLD_BACK + 1 :]))
    end(wire)
    assert early(wire) == body[:-HOLD_BACK]
    inside.scans.running[0].callback(CLEAN)
    assert (early(wire), is_whole(wire)) == (body, True)
    assert (inside.spool.bodies, inside.clock.getDelayedCalls()) == (0, [])


def test_a_hit_breaks_a_stream_and_the_next_try_gets_the_page() -> None:
    inside = Inside(delivery={"mode": "stream"}, **SQUID)
    body = numbered(300 * KIB)
    wire = asked(inside, body)
    end(wire)
    inside.scans.running[0].callback(HIT)
    assert (wire.is_aborted, early(wire), is_whole(wire)) == (True, body[:-HOLD_BACK], False)
    again = inside.connect(respmod(body, "/respmod", url=URL).head("x"))
    assert b"HTTP/1.1 403 " in again.sent


@pytest.mark.parametrize("size", [1, HOLD_BACK])
def test_what_is_no_longer_than_what_is_held_back_gets_the_page(size: int) -> None:
    inside = Inside(delivery={"mode": "stream"}, **SQUID)
    wire = asked(inside, numbered(size))
    end(wire)
    assert early(wire) is None
    inside.scans.running[0].callback(HIT)
    assert b"HTTP/1.1 403 " in wire.sent


def test_a_stream_waits_for_its_reader() -> None:
    inside = Inside(delivery={"mode": "stream"}, **SQUID)
    body = numbered(600 * KIB)
    wire = asked(inside, body[: 200 * KIB])
    producer: Any = wire.producer
    producer.pauseProducing()
    before = early(wire)
    assert wire.protocol is not None
    wire.protocol.dataReceived(chunk(body[200 * KIB :]))
    end(wire)
    assert early(wire) == before
    producer.resumeProducing()
    assert early(wire) == body[:-HOLD_BACK]
    producer.pauseProducing()
    inside.scans.running[0].callback(CLEAN)
    assert not is_whole(wire)
    producer.resumeProducing()
    assert (early(wire), is_whole(wire)) == (body, True)


def test_a_trickle_begins_after_a_while_and_goes_on_while_the_body_is_judged() -> None:
    times = {"trickle_after_s": 10.0, "trickle_interval_s": 5.0, "trickle_bytes": 100}
    inside = Inside(delivery={"mode": "trickle", **times}, **SQUID)
    body = numbered(HOLD_BACK + 250)
    wire = asked(inside, body)
    end(wire)
    inside.clock.advance(9.9)
    assert early(wire) is None
    inside.clock.advance(0.2)
    assert early(wire) == body[:100]
    inside.clock.advance(5)
    assert early(wire) == body[:200]
    for _ in range(3):
        inside.clock.advance(5)
    assert early(wire) == body[:250]
    inside.scans.running[0].callback(CLEAN)
    assert (early(wire), is_whole(wire)) == (body, True)
    assert inside.clock.getDelayedCalls() == []


def test_of_a_small_body_a_trickle_gives_the_head_alone() -> None:
    inside = Inside(delivery={"mode": "trickle"}, **SQUID)
    wire = asked(inside, b"small")
    inside.clock.advance(60)
    assert early(wire) == b""
    end(wire)
    inside.scans.running[0].callback(HIT)
    assert (wire.is_aborted, early(wire)) == (True, b"")


def test_what_is_judged_in_time_does_not_trickle() -> None:
    inside = Inside(delivery={"mode": "trickle"}, **SQUID)
    wire = asked(inside, numbered(2 * HOLD_BACK))
    end(wire)
    inside.scans.running[0].callback(HIT)
    assert b"HTTP/1.1 403 " in wire.sent
    assert inside.clock.getDelayedCalls() == []


def test_a_client_that_goes_ends_its_clocks() -> None:
    inside = Inside(delivery={"mode": "trickle"}, **SQUID)
    wire = asked(inside, numbered(2 * HOLD_BACK))
    wire.loseConnection()
    assert (inside.clock.getDelayedCalls(), inside.spool.bodies) == ([], 0)


def test_what_is_skipped_is_said_to_be_not_scanned() -> None:
    inside = Inside(delivery={"mode": "skip"}, **SQUID)
    body = numbered(100 * KIB)
    wire = asked(inside, body)
    assert early(wire) == body
    end(wire)
    assert is_whole(wire)
    assert b"X-Response-Info: NOT_SCANNED\r\n" in wire.sent
    assert inside.scans.running == []


def test_skipping_opens_nothing_that_policy_blocks_by_the_heads() -> None:
    rules = [{"name": "no", "when": {"host": "site.example"}, "action": "block"}]
    inside = Inside(delivery={"mode": "skip"}, policy=rules, **SQUID)
    assert b"HTTP/1.1 403 " in asked(inside, b"body").sent


@pytest.mark.parametrize(
    ("profile", "size", "length", "media_type", "seconds", "expected"),
    [
        ("squid", 2048 * KIB, True, "application/zip", 11, "trickle"),
        ("squid", 1024 * KIB - 1, True, "application/zip", 60, "drips"),
        ("generic", 2048 * KIB, True, "application/zip", 60, "drips"),
        ("squid", 200 * KIB, False, "video/mp4", 0, "stream"),
        ("squid", 200 * KIB, True, "video/mp4", 0, "hold"),
        ("squid", 200 * KIB, False, "application/octet-stream", 0, "hold"),
        ("generic", 200 * KIB, False, "video/mp4", 0, "hold"),
    ],
)
def test_auto_goes_by_size_type_and_profile(
    profile: str, size: int, length: bool, media_type: str, seconds: float, expected: str
) -> None:
    service = {"path": "/respmod", "methods": ["RESPMOD"], "profile": profile}
    inside = Inside(service=[service])
    body = numbered(size)
    head = ok(body if length else None, media_type=media_type)
    wire = asked(inside, body, Request("RESPMOD", "/respmod", get(URL), head, body))
    inside.clock.pump([0.01] * int(seconds * 100))
    given = early(wire)
    match expected:
        case "hold":
            assert given is None
        case "stream":
            assert given == body[:-HOLD_BACK]
        case "drips":
            assert given is not None
            assert len(given) <= 32
        case _:
            assert given is not None
            assert 512 <= len(given) <= 512 + 32


def test_requests_are_held() -> None:
    inside = Inside(delivery={"mode": "stream"}, service=[{"path": "/scan"}])
    body = numbered(300 * KIB)
    wire = asked(inside, body, reqmod(body, "/scan", url=URL))
    inside.clock.advance(20)
    assert early(wire) is None


def test_rules_choose_by_the_heads() -> None:
    rules = [
        {"when": {"media_type": "text/*"}, "mode": "skip"},
        {"when": {"size_over_bytes": 250 * KIB}, "mode": "stream"},
    ]
    inside = Inside(delivery={"mode": "hold", "rule": rules}, **SQUID)
    large, small = numbered(300 * KIB), numbered(200 * KIB)

    def given(body: bytes, media_type: str) -> bytes | None:
        return early(
            asked(inside, body, Request("RESPMOD", "/respmod", get(URL), ok(body, media_type=media_type), body))
        )

    assert given(large, "application/zip") == large[:-HOLD_BACK]
    assert given(small, "application/zip") is None
    assert given(small, "text/css") == small


def test_rules_that_need_a_scan_are_refused() -> None:
    rules = [{"when": {"outcome": "clean"}, "mode": "hold"}, {"when": {"client": "nobody"}, "mode": "hold"}]
    with pytest.raises(ConfigurationError) as refused:
        compile_modes(Delivery.model_validate({"rule": rules}))
    assert [problem.where for problem in refused.value.problems] == [
        "delivery.rule[0].when",
        "delivery.rule[1].when.client",
    ]


def test_nothing_goes_early_where_rules_edit_heads() -> None:
    edits = {"name": "e", "action": "allow", "add_headers": {"X-A": "1"}, "when": {"outcome": "clean"}}
    inside = Inside(delivery={"mode": "stream"}, policy=[edits], **SQUID)
    assert early(asked(inside, numbered(300 * KIB))) is None


def test_nothing_goes_early_in_a_preview() -> None:
    inside = Inside(delivery={"mode": "stream", "hold_back_bytes": 1}, **SQUID)
    body = numbered(3000)
    request = respmod(body, "/respmod", url=URL, preview_bytes=1024)
    wire = inside.connect(request.head("x") + chunk(body[:1024]))
    assert early(wire) is None
    assert wire.protocol is not None
    wire.protocol.dataReceived(END)
    assert wire.sent == b"ICAP/1.0 100 Continue\r\n\r\n"
    wire.sent = b""
    wire.protocol.dataReceived(chunk(body[1024:]))
    assert early(wire) == body[:-1]


def test_the_last_byte_never_drips() -> None:
    inside = Inside(delivery={"mode": "stream", "hold_back_bytes": 1}, **SQUID)
    body = numbered(70_000)
    wire = asked(inside, body)
    inside.clock.pump([0.05] * 100)
    assert early(wire) == body[:-1]


@pytest.mark.parametrize("mode", ["hold", "stream", "trickle", "auto"])
def test_a_stall_before_anything_may_go_is_ended_by_a_drip(mode: str) -> None:
    """Squid before 6.14 stops one byte short of what a stream holds back."""
    inside = Inside(delivery={"mode": mode}, **SQUID)
    body = numbered(HOLD_BACK - 1)
    wire = asked(inside, body)
    inside.clock.advance(0.06)
    assert early(wire) == body[:1]


def test_however_large_a_body_is_its_drips_are_not_used_up() -> None:
    """Squid 5.7 stalls after every three megabytes, and is woken by nothing else where bodies are held."""
    inside = Inside(
        delivery={"mode": "hold", "drip_bytes": 2}, spool={"total_memory_bytes": 64 * 1024 * KIB}, **SQUID
    )
    piece = numbered(1024 * KIB)
    wire = asked(inside, piece)
    assert wire.protocol is not None
    inside.clock.pump([0.06] * 100)
    given = early(wire)
    assert given is not None
    assert len(given) == 3
    for number in range(4, 12):
        wire.protocol.dataReceived(chunk(piece))
        inside.clock.advance(0.06)
        given = early(wire)
        assert given == piece[:number]
