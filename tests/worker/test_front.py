"""What a front does by the clock, without its processes."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock, LoopingCall
from twisted.python.failure import Failure

from icapd.observe.log import EventLog
from icapd.worker.frames import Ready
from icapd.worker.front import Front


class Sweeps:
    """The parts of a front that a sweep touches; each fails in turn. Also a generation, its gateway and its pool."""

    is_draining = False
    is_ready = True
    sandbox = ()
    connections: tuple[object, ...] = ()

    def __init__(self) -> None:
        self.current = self.gateway = self.scanning = self.pool = self
        self.calls: list[str] = []
        self.errors: list[str] = []
        self.broken = ""

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.broken:
            raise RuntimeError(name)

    def sweep(self, is_judging_before: object = None) -> None:
        if is_judging_before is None:  # not what the generations are asked
            self._call("sweep")

    def commit(self, number: int) -> None:
        self._call("commit")

    def drain(self) -> None:
        self._call("drain")

    def is_judging_before(self, gateway: object) -> bool:
        return False

    def tick(self) -> None:
        self._call("tick")

    def send(self, packets: list[bytes]) -> None:
        self._call("send")

    def internal_error(self, failure: Failure) -> None:
        self.errors.append(failure.getErrorMessage())


def test_a_sweep_that_fails_is_not_the_last() -> None:
    parts = Sweeps()
    front = Front.__new__(Front)
    vars(front).update(_factory=parts, _http=Sweeps(), _generations=parts, _control=parts, _told=Ready(False))
    clock = Clock()
    looping = LoopingCall(front._sweep)
    looping.clock = cast(Any, clock)
    looping.start(1.0, now=False)
    for parts.broken in ("sweep", "tick", "send"):
        clock.advance(1.0)
    parts.broken = ""
    clock.advance(1.0)
    assert parts.errors == ["sweep", "tick", "send"]
    assert parts.calls == ["sweep", "sweep", "tick", "sweep", "tick", "send", "sweep", "tick", "send"]
    assert looping.running
    looping.stop()


def test_a_front_that_lost_what_it_prepared_ends_to_begin_anew() -> None:
    """All others change: it is started again with what they have, and says why."""
    parts, events = Sweeps(), list[bytes]()
    front = Front.__new__(Front)
    vars(front).update(_factory=parts, _http=Sweeps(), _generations=parts, _ports=[], _reactor=Clock())
    vars(front).update(_sweeper=LoopingCall(lambda: None), _log=EventLog("debug", events.append, "test"))
    front._commit(7)
    assert parts.calls == ["commit", "drain"]
    assert b'"event":"reload-failed"' in events[0]
    assert b"what was prepared is lost" in events[0]


def test_readiness_is_told_when_it_changes() -> None:
    parts = Sweeps()
    front = Front.__new__(Front)
    vars(front).update(_factory=parts, _http=Sweeps(), _generations=parts, _control=parts, _told=Ready(False))
    for is_ready, told in ((False, 0), (True, 1), (True, 1), (False, 2)):
        parts.is_ready = is_ready
        front._sweep()
        assert parts.calls.count("send") == told
