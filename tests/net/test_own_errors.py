"""Errors of ours: each ends one connection at most, frees what it held, and is logged."""

from __future__ import annotations

import pytest

from icapd.net.record import Claims
from icapd.policy.decide import Policy
from tests.net.inside import Inside, Wire
from tests.net.messages import reqmod, respmod
from tests.support.icap_client import Request, chunk


def whole(request: Request) -> bytes:
    return request.head("x") + request.remainder()


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("a bug of ours")


def unfinished(allow: str = "") -> bytes:
    return respmod(b"part of it", allow=allow).head("x") + chunk(b"part")


def test_the_sweep_goes_on_behind_a_connection_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside()
    failing = [inside.connect(unfinished()) for _ in range(3)]
    others = [inside.connect(b"OPTIONS") for _ in range(3)]
    monkeypatch.setattr(Policy, "decide", fail)
    inside.clock.advance(31)
    inside.factory.sweep()
    assert [wire.is_aborted for wire in failing] == [True] * 3
    assert [wire.sent.startswith(b"ICAP/1.0 408 ") for wire in others] == [True] * 3
    assert inside.internal_errors == 3
    assert (inside.spool.bodies, len(inside.factory.connections)) == (0, 3)
    inside.clock.advance(6)
    inside.factory.sweep()
    assert (inside.internal_errors, inside.factory.connections) == (3, set())


def test_a_scan_that_fails_by_a_bug_is_an_error_that_policy_answers() -> None:
    inside = Inside()
    wire = inside.connect(whole(respmod(b"body")))
    inside.scans.running[0].errback(RuntimeError("a bug of ours"))
    assert b"\r\nX-Response-Info: ERROR; finding=internal-error; kind=failed; action=block;" in wire.sent
    assert (inside.internal_errors, inside.spool.bodies, wire.is_aborted) == (1, 0, False)


@pytest.mark.parametrize("broken", ["scan", "policy"])
def test_when_nothing_can_be_concluded_the_connection_breaks_off(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    inside = Inside()
    wire = inside.connect(whole(respmod(b"body")))
    monkeypatch.setattr(Policy, "decide", fail)
    [scan] = inside.scans.running
    if broken == "scan":
        scan.errback(RuntimeError("another bug"))
    else:
        inside.clock.advance(26)
        inside.factory.sweep()
    assert (wire.is_aborted, wire.sent, inside.spool.bodies) == (True, b"", 0)
    assert inside.internal_errors == (2 if broken == "scan" else 1)
    assert inside.factory.connections == set()


def test_a_page_that_cannot_be_drawn_lets_nothing_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside(policy=[{"name": "no", "when": {"host": "site.example"}, "action": "block"}])
    monkeypatch.setattr("icapd.net.replies.PageFacts", fail)
    wire = inside.connect(whole(reqmod(b"body")))
    assert (wire.is_aborted, wire.sent, inside.internal_errors, inside.spool.bodies) == (True, b"", 1, 0)


@pytest.mark.parametrize("end", ["answered", "client gone", "timed out"])
def test_an_access_line_that_cannot_be_made_holds_nothing_back(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    inside = Inside(delivery={"stall_after_bytes": 1})
    monkeypatch.setattr(Claims, "access_line", fail)
    if end == "answered":
        wire = inside.connect(whole(respmod(b"body")))
        inside.scans.running[0].errback(RuntimeError("a bug of ours"))
        assert wire.sent.startswith(b"ICAP/1.0 200 ")
    else:
        wire = inside.connect(unfinished())
        inside.clock.advance(0.06)  # one drip: there is an echo as well
        assert wire.sent.endswith(b"1\r\np\r\n")
        if end == "client gone":
            wire.loseConnection()
        else:
            inside.clock.advance(31)
            inside.factory.sweep()
            assert wire.is_aborted
    assert (inside.spool.bodies, inside.spool.memory_bytes) == (0, 0)
    assert inside.clock.getDelayedCalls() == []
    assert inside.internal_errors == (2 if end == "answered" else 1)


class Unread(Wire):
    """A client that reads nothing: closing waits for what is written."""

    def loseConnection(self) -> None:
        self.disconnecting = True


def test_who_shuts_its_side_in_mid_body_is_given_up_at_once() -> None:
    """Also while the connection cannot be closed yet: nothing drips behind its end, which would be an error."""
    inside = Inside()
    wire = inside.connect(respmod(b"x" * 70_000).head("x") + chunk(b"x" * 65_000), Unread())
    assert wire.protocol is not None
    inside.clock.advance(1)
    assert inside.counters.values()["icapd_drips_total"]
    dripped = len(wire.sent)
    wire.protocol.readConnectionLost()
    assert wire.disconnecting
    assert (inside.spool.bodies, inside.counters.values()["icapd_abandoned_total"]) == (0, [((), 1)])
    inside.clock.advance(60)
    assert (len(wire.sent), inside.internal_errors) == (dripped, 0)
