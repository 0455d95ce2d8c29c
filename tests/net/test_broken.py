"""Whose transfer was cut off, and who gets the page for it: the same request of the same client, for a while."""

from __future__ import annotations

import mmap
import random

import pytest
from msgspec import structs

from icapd.config.schema import Rule, When
from icapd.icap import CodecLimits, Connection, RequestHead
from icapd.net.broken import SLOT_BYTES, BrokenTransfers
from icapd.net.record import Claims
from icapd.policy.decide import Policy, compile_policy
from icapd.policy.facts import Action
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, ScanReport, Verdict
from icapd.scan.tree import Examination
from tests.net.inside import Inside
from tests.net.messages import get, ok, respmod, text
from tests.support.eicar import EICAR
from tests.support.icap_client import IcapClient, ReplyError, Request, chunk
from tests.support.icapd import Icapd
from tests.support.process import wait_until

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
    """What one front remembers, of all that share its memory: few slots. State: `now`, the clock."""

    SLOTS = 8

    def __init__(self, ttl_s: float = 120.0, shared: Memory | None = None) -> None:
        self.now = 1.0
        self.shared: mmap.mmap = shared.shared if shared else mmap.mmap(-1, (self.SLOTS + 1) * SLOT_BYTES)
        self.broken = BrokenTransfers(self.shared, ttl_s, lambda: self.now)

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
    assert is_blank(memory) is (verdict not in OF_CONTENT)


def test_what_policy_does_not_block_is_forgotten() -> None:
    memory = Memory()
    memory.remember()
    assert not memory.blocks(policy("MALICIOUS"))
    assert not memory.blocks()


def test_it_ends_with_its_time() -> None:
    memory = Memory(ttl_s=120.0)
    memory.remember()
    memory.now = 120.9
    assert memory.blocks()
    memory.now = 121.0
    assert not memory.blocks()
    memory.remember(url=URL + "2")
    assert not memory.blocks()
    assert memory.blocks(url=URL + "2")
    never = Memory(ttl_s=0.0)
    never.remember()
    assert is_blank(never)


def is_blank(memory: Memory) -> bool:
    return not any(memory.shared[:])


def test_what_one_front_remembers_all_do() -> None:
    first = Memory()
    second = Memory(shared=first)
    first.remember()
    assert [second.blocks(), first.blocks()] == [True, True]
    second.blocks(policy("MALICIOUS"))
    assert not first.blocks()


def test_however_many_there_are_the_newest_is_remembered_and_the_memory_is_full() -> None:
    memory = Memory()
    urls = [f"http://site.example/{number}" for number in range(8 * Memory.SLOTS)]
    for url in urls:
        memory.remember(url=url)
        assert memory.blocks(url=url)
    kept = sum(memory.blocks(url=url) for url in urls)
    assert Memory.SLOTS / 2 < kept <= Memory.SLOTS


def test_a_report_with_more_than_there_is_room_for_still_blocks() -> None:
    def blocks(*findings: Finding) -> int:
        memory = Memory()
        report = structs.replace(HIT, findings=findings, reports=(EngineReport("e", Outcome.FOUND, findings),))
        memory.remember(report)
        head, claims = message()
        decision = memory.broken.decide(head, claims, policy())
        assert decision is not None
        assert claims.facts.report is not None
        assert claims.facts.report.verdict is Verdict.MALICIOUS
        return len(claims.facts.report.findings)

    many = [Finding(FindingKind.MALWARE, f"Evil.{number}", "yara") for number in range(100)]
    assert blocks(*many[:5]) == 5
    assert 10 < blocks(*many) < 100
    assert blocks(Finding(FindingKind.MALWARE, "x" * 1_000, "yara")) == 1
    assert blocks(Finding(FindingKind.MALWARE, "x" * 3_000, "yara")) == 0


def test_what_another_front_is_writing_is_not_believed() -> None:
    memory, chance = Memory(), random.Random(1)
    memory.remember()
    written = [place for place, byte in enumerate(memory.shared[:]) if byte and place >= 8]
    for place in chance.sample(written, 40):
        before = memory.shared[place]
        memory.shared[place] = before ^ (1 << chance.randrange(8))
        assert not memory.blocks()
        memory.shared[place] = before
    assert memory.blocks()


def test_the_retry_gets_the_page_from_every_front(pair: Icapd) -> None:
    url = "http://site.example/broken/on/one/front"
    request = respmod(text(70_000) + EICAR, url=url)
    with IcapClient(pair.address) as client:
        client.send(request.head(client.host) + chunk(text(70_000)))
        wait_until(lambda: pair.metric("icapd_drips_total") > 0, "a drip")
        client.send(chunk(EICAR) + b"0\r\n\r\n")
        with pytest.raises((ReplyError, ConnectionResetError)):
            client.read_reply()
    for _ in range(16):  # the kernel spreads connections over the fronts by their ports
        with IcapClient(pair.address) as client:
            client.send(request.head(client.host))
            assert client.read_reply().http_status == 403


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
    assert broken.is_aborted
    assert b"HTTP/1.1 403 " in inside.connect(request.head("x")).sent

    def asks(group: str) -> bytes:
        body = respmod(EICAR, "/scan", url=URL, headers=[("X-Authenticated-Groups", group)])
        return inside.connect(body.head("x") + body.remainder()).sent

    assert b"HTTP/1.1 403 " in asks("others")
    assert inside.scans.running == []
    assert asks("analysts") == b""
    assert len(inside.scans.running) == 1


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
