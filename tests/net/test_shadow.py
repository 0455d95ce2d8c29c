"""Shadow mode's counting: bounded whatever hosts there are, and a share that no client chooses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from icapd.config.policies import compile_policies
from icapd.config.schema import Rule, Settings
from icapd.icap.encapsulated import Encapsulated
from icapd.icap.events import RequestHead
from icapd.net.record import Claims
from icapd.net.services import ServiceTable
from icapd.net.shadow import DIFFERENCES, DIFFERENCES_MAX, OTHER_HOSTS, Shadow, Trial
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.policy.facts import Action, Decision

ALLOWED = Decision(Action.ALLOW, "clean")


class Bench:
    """A shadow that is shown requests; its policy blocks all of them."""

    def __init__(self, share: float = 1.0, identity: str = "next") -> None:
        self.counters = Counters()
        self.lines: list[dict[str, Any]] = []
        self.log = EventLog("info", lambda line: self.lines.append(json.loads(line)), "front")
        self.shadow = Shadow(self.counters, self.log, lambda: 0.0)
        self.follow(identity, share)

    def follow(self, identity: str, share: float = 1.0) -> None:
        settings = Settings(policy=[Rule(name="nothing", action="block")])
        services = ServiceTable(settings, compile_policies(settings), "ruleset", {}, b"", {})
        self.shadow.follow(Trial(identity, share, services, None, 1, 1, 1.0, frozenset()))

    def look(self, identifier: str, host: str = "a.example", decision: Decision = ALLOWED) -> None:
        request = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        head = RequestHead("REQMOD", "/reqmod", b"", {}, Encapsulated(len(request)), request)
        self.shadow.look(identifier, Claims(head, "/reqmod", "192.0.2.1"), "/reqmod", decision, None)

    def counts(self) -> dict[tuple[str, ...], float]:
        return dict(self.counters.values().get(DIFFERENCES, []))

    def total(self, change: str) -> float:
        return dict(self.counters.values().get("icapd_shadow_total", [])).get((change,), 0)


def test_hosts_past_the_limit_are_counted_as_one() -> None:
    bench = Bench()
    for number in range(DIFFERENCES_MAX):
        bench.look("a-1", f"h{number}.example")
    assert len(bench.counts()) == DIFFERENCES_MAX
    assert OTHER_HOSTS not in {labels[-1] for labels in bench.counts()}
    for number in range(5):
        bench.look("a-1", f"further{number}.example")
    bench.look("a-1", "h0.example")
    counts = bench.counts()
    assert len(counts) == DIFFERENCES_MAX + 1
    assert sorted(value for labels, value in counts.items() if labels[-1] in (OTHER_HOSTS, "h0.example")) == [2, 5]
    assert sum(counts.values()) == bench.total("blocks") == DIFFERENCES_MAX + 6
    assert len([line for line in bench.lines if line["event"] == "shadow-difference"]) == DIFFERENCES_MAX + 1


def test_long_hosts_are_cut() -> None:
    bench = Bench()
    bench.look("a-1", "h" * 500)
    assert {len(labels[-1]) for labels in bench.counts()} == {100}


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 4000, 4000), (0.25, 900, 1100), (1e-9, 0, 0)])
def test_the_share_is_taken_of_all_identifiers(share: float, least: int, most: int) -> None:
    bench = Bench(share)
    for number in range(4000):
        bench.look(f"5f3a9c01-{number:x}")
    assert least <= bench.total("blocks") <= most


def test_what_is_the_same_or_was_overridden_is_no_difference() -> None:
    bench = Bench()
    bench.look("a-1", decision=Decision(Action.BLOCK, "other"))
    assert bench.total("same") == 1
    bench.look("a-1", decision=Decision(Action.OVERRIDE, "other"))
    assert bench.counts() == {}
    assert bench.total("blocks") == 0


def test_another_configuration_is_counted_anew_and_the_same_goes_on() -> None:
    bench = Bench()
    bench.look("a-1")
    bench.follow("next", 0.5)
    assert len(bench.counts()) == 1
    bench.follow("later")
    assert bench.counts() == {}
    bench.shadow.follow(None)
    bench.look("a-1")
    assert bench.counts() == {}
