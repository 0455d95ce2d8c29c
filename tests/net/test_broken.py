"""Whose transfer was cut off, and who gets the page for it: the same request of the same client, for a while."""

from __future__ import annotations

import pytest

from icapd.config.schema import Rule, When
from icapd.icap import CodecLimits, Connection, RequestHead
from icapd.net.broken import BrokenTransfers
from icapd.net.record import Claims
from icapd.policy.decide import Policy, compile_policy
from icapd.policy.facts import Action
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, ScanReport, Verdict
from icapd.scan.tree import Examination
from tests.net.inside import Inside
from tests.net.messages import get, ok, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import Request, chunk

URL = "http://site.example/file?session=1"
HIT = ScanReport(Verdict.MALICIOUS)
OF_CONTENT = {Verdict.MALICIOUS, Verdict.FORBIDDEN, Verdict.SUSPICIOUS, Verdict.UNSCANNABLE}


def policy(*passing: str) -> Policy:
    """Blocks all but these verdicts."""
    rules = [Rule(name="passes", when=When(verdict=list(passing)), action="allow")] if passing else []
    return compile_policy("custom", [*rules, Rule(name="rest", action="block")])


def message(
    url: str = URL,
    method: str = "GET",
    service: str = "/scan",
    client: str = "192.0.2.1",
    peer: str = "127.0.0.1",
    kind: str = "RESPMOD",
) -> tuple[RequestHead, Claims]:
    headers = [("X-Client-IP", client)] if client else []
    request = Request(kind, service, get(url, method), ok() if kind == "RESPMOD" else b"", headers=headers)
    codec = Connection(CodecLimits())
    codec.receive_data(request.head("x"))
    head = codec.next_event()
    assert isinstance(head, RequestHead)
    return head, Claims(head, service, peer)


class Memory:
    """State: `now`, the clock."""

    def __init__(self, ttl_s: float = 120.0, entries_max: int = 10) -> None:
        self.now = 0.0
        self.broken = BrokenTransfers(ttl_s, lambda: self.now, entries_max)

    def remember(self, report: ScanReport = HIT, /, **parts: str) -> None:
        self.broken.remember(*message(**parts), report)

    def blocks(self, rules: Policy | None = None, /, **parts: str) -> bool:
        head, claims = message(**parts)
        decision = self.broken.decide(head, claims, rules or policy())
        if decision is None:
            assert claims.facts.report is None
            return False
        assert (decision.action, claims.facts.report) == (Action.BLOCK, HIT)
        return True


def test_the_same_request_is_blocked_at_once_again_and_again() -> None:
    memory = Memory()
    assert not memory.blocks()
    memory.remember()
    assert [memory.blocks(), memory.blocks()] == [True, True]


@pytest.mark.parametrize(
    "other",
    [
        {"url": URL + "2"},
        {"url": "http://other.example/file?session=1"},
        {"service": "/avscan"},
        {"client": "192.0.2.2"},
        {"client": ""},
        {"method": "POST"},
        {"method": "HEAD"},
        {"kind": "REQMOD"},
    ],
)
def test_whatever_differs_is_another_request(other: dict[str, str]) -> None:
    memory = Memory()
    memory.remember()
    assert not memory.blocks(**other)
    memory.remember(**other)
    assert memory.blocks(**other) is (other.get("method", "GET") == "GET" and "kind" not in other)


def test_without_a_named_client_the_gateway_is_the_client() -> None:
    memory = Memory()
    memory.remember(client="", peer="127.0.0.1")
    assert memory.blocks(client="", peer="127.0.0.1")
    assert not memory.blocks(client="", peer="127.0.0.2")


@pytest.mark.parametrize("verdict", Verdict)
def test_only_verdicts_on_content_are_remembered(verdict: Verdict) -> None:
    memory = Memory()
    memory.remember(ScanReport(verdict))
    assert len(memory.broken) == (verdict in OF_CONTENT)


def test_what_policy_does_not_block_is_forgotten() -> None:
    memory = Memory()
    memory.remember()
    assert not memory.blocks(policy("MALICIOUS"))
    assert len(memory.broken) == 0
    assert not memory.blocks()


def test_it_ends_with_its_time() -> None:
    memory = Memory(ttl_s=120.0)
    memory.remember()
    memory.now = 119.0
    assert memory.blocks()
    memory.now = 120.0
    assert not memory.blocks()
    assert len(memory.broken) == 0
    never = Memory(ttl_s=0.0)
    never.remember()
    assert len(never.broken) == 0


def test_as_many_as_may_be_and_one_more() -> None:
    memory = Memory(entries_max=3)
    urls = [f"http://site.example/{number}" for number in range(4)]
    for url in urls[:3]:
        memory.remember(url=url)
    memory.remember(url=urls[0])  # the newest again
    assert [memory.blocks(url=url) for url in urls] == [True, True, True, False]
    memory.remember(url=urls[3])
    assert [memory.blocks(url=url) for url in urls] == [True, False, True, True]


def test_a_report_that_is_no_longer_blocked_gives_way_to_a_scan() -> None:
    """Somebody who is exempt by now comes again with the request whose transfer broke."""
    rules = [{"name": "exempt", "when": {"group": "analysts", "verdict": "UNSCANNABLE"}, "action": "allow"}]
    inside = Inside(
        policy=rules,
        service=[{"path": "/scan", "max_body_bytes": 100_000}],
        delivery={"stall_after_bytes": 1},
    )
    request = respmod(text(200_000), "/scan", url=URL)
    broken = inside.connect(request.head("x") + chunk(b"begin"))
    inside.clock.advance(0.06)
    assert broken.protocol is not None
    broken.protocol.dataReceived(b"%x\r\n" % 200_000 + b"and")
    assert (broken.is_aborted, len(inside.gateway.broken)) == (True, 1)
    assert b"HTTP/1.1 403 " in inside.connect(request.head("x")).sent

    def asks(group: str) -> bytes:
        body = respmod(EICAR, "/scan", url=URL, headers=[("X-Authenticated-Groups", group)])
        return inside.connect(body.head("x") + body.remainder()).sent

    assert b"HTTP/1.1 403 " in asks("others")
    assert inside.scans.running == []
    assert asks("analysts") == b""
    assert (len(inside.scans.running), len(inside.gateway.broken)) == (1, 0)


def test_another_users_broken_transfer_is_nobody_elses() -> None:
    inside = Inside(delivery={"stall_after_bytes": 1})
    mine, others = (respmod(EICAR, "/scan", url=URL, headers=[("X-Client-Username", name)]) for name in ("a", "b"))
    broken = inside.connect(mine.head("x") + chunk(EICAR))
    inside.clock.advance(0.06)
    assert broken.protocol is not None
    broken.protocol.dataReceived(b"0\r\n\r\n")
    report = EngineReport("yara", Outcome.FOUND, (Finding(FindingKind.MALWARE, "Evil", "yara"),))
    inside.scans.running[0].callback(Examination(reports=(report,), size_bytes=1))
    assert broken.is_aborted
    assert inside.connect(others.head("x")).sent == b""
    assert b"HTTP/1.1 403 " in inside.connect(mine.head("x")).sent
