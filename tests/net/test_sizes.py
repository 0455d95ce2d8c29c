"""How large policy takes a body to be that was refused before its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.net.inside import Inside
from tests.net.messages import KIB, MIB, get, ok, respmod, text
from tests.support.icap_client import Request, chunk

LIMIT = 1000


def small_ones_pass(under_bytes: int) -> dict[str, Any]:
    return {"policy": [{"name": "small", "when": {"size_under_bytes": under_bytes}, "action": "allow"}]}


def is_blocked(inside: Inside, data: bytes) -> bool:
    sent = inside.connect(data).sent
    assert sent.startswith(b"ICAP/1.0 200 ")
    return b"\r\n\r\nHTTP/1.1 403 " in sent


def unsized(body: bytes) -> Request:
    return Request("RESPMOD", "/scan", get(), ok(None), body)


@pytest.mark.parametrize(
    ("announced_bytes", "under_bytes", "blocked"),
    [
        (LIMIT + 1, LIMIT + 1, True),
        (LIMIT + 1, LIMIT + 2, False),
        (5000, 5000, True),
        (5000, 5001, False),
    ],
)
def test_a_body_past_its_ceiling_is_as_large_as_its_chunk(
    announced_bytes: int, under_bytes: int, blocked: bool
) -> None:
    inside = Inside(service=[{"path": "/scan", "max_body_bytes": LIMIT}], **small_ones_pass(under_bytes))
    begun = b"%x\r\n" % announced_bytes + b"a few bytes"
    assert is_blocked(inside, unsized(b"").head("x") + begun) is blocked


@pytest.mark.parametrize(("under_bytes", "blocked"), [(LIMIT + 1, True), (LIMIT + 2, False)])
def test_a_body_past_its_ceiling_is_past_it(under_bytes: int, blocked: bool) -> None:
    """In small chunks, each of which says nothing of what is to come."""
    inside = Inside(service=[{"path": "/scan", "max_body_bytes": LIMIT}], **small_ones_pass(under_bytes))
    assert is_blocked(inside, unsized(b"").head("x") + chunk(b"x" * LIMIT) + chunk(b"y")) is blocked


@pytest.mark.parametrize(
    ("under_bytes", "declares", "blocked"),
    [(3 * MIB, False, True), (3 * MIB + 1, False, False), (4 * MIB, True, True), (4 * MIB + 1, True, False)],
)
def test_a_body_without_room_is_as_large_as_announced(under_bytes: int, declares: bool, blocked: bool) -> None:
    spool = {"total_memory_bytes": 1 * MIB, "total_disk_bytes": 0, "memory_bytes": 16 * KIB}
    inside = Inside(spool=spool, service=[{"path": "/scan"}], **small_ones_pass(under_bytes))
    request = respmod(text(4 * MIB), "/scan") if declares else unsized(b"")
    begun = b"%x\r\n" % (3 * MIB) + b"x" * (1 * MIB + 1)
    assert is_blocked(inside, request.head("x") + begun) is blocked
    assert inside.spool.disk_bytes == 0


@pytest.mark.parametrize(("under_bytes", "blocked"), [(5000, True), (5001, False)])
def test_a_late_body_is_as_large_as_announced(under_bytes: int, blocked: bool) -> None:
    inside = Inside(service=[{"path": "/scan"}], **small_ones_pass(under_bytes))
    wire = inside.connect(unsized(b"").head("x") + b"%x\r\n" % 5000 + b"a few bytes")
    inside.clock.advance(31)
    inside.factory.sweep()
    assert (b"\r\n\r\nHTTP/1.1 403 " in wire.sent) is blocked
