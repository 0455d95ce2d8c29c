"""The clock behind drips: how many, and how far apart."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.task import Clock

from icapd.net.stall import PLAIN_DRIPS, Stall
from icapd.reactor import Reactor


class Stalled:
    """A client that stays stalled; notes when it was woken. Interval: one second."""

    def __init__(self, drips_max: int, spooled_bytes: int = 1000) -> None:
        self.clock = Clock()
        self.woken_at: list[float] = []
        self._spooled_bytes = spooled_bytes
        self.stall = Stall(cast(Reactor, self.clock), 1.0, drips_max, self._drip)

    def _drip(self) -> bool:
        if len(self.woken_at) >= self._spooled_bytes:
            return False
        self.woken_at.append(self.clock.seconds())
        return True

    def wait(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)


@pytest.mark.parametrize("drips_max", [1, PLAIN_DRIPS])
def test_drips_end_at_their_limit(drips_max: int) -> None:
    stalled = Stalled(drips_max)
    stalled.stall.restart()
    stalled.wait(100)
    assert stalled.woken_at == [float(number) for number in range(1, drips_max + 1)]
    stalled.stall.restart()  # and a piece that comes later changes nothing
    stalled.wait(100)
    assert (len(stalled.woken_at), stalled.clock.getDelayedCalls()) == (drips_max, [])


def test_each_drip_past_the_first_two_of_a_stall_waits_twice_as_long() -> None:
    stalled = Stalled(PLAIN_DRIPS + 3)
    stalled.stall.restart()
    stalled.wait(100)
    assert stalled.woken_at == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_piece_that_comes_in_ends_the_stall_and_the_doubling() -> None:
    stalled = Stalled(6)
    stalled.stall.restart()
    stalled.wait(8)
    assert stalled.woken_at == [1.0, 2.0, 4.0, 8.0]
    stalled.stall.restart()
    stalled.wait(100)
    assert stalled.woken_at[4:] == [9.0, 10.0]  # and then all six are used up


def test_the_longest_interval_is_one_that_a_reactor_takes() -> None:
    stalled = Stalled(64)
    stalled.stall.restart()
    for _ in range(64):
        before = stalled.woken_at[-1] if stalled.woken_at else 0.0
        stalled.clock.advance(65_536.0)
        assert stalled.woken_at[-1] - before <= 65_536.0
    assert len(stalled.woken_at) == 64


def test_a_piece_in_time_is_no_stall() -> None:
    stalled = Stalled(8)
    for _ in range(10):
        stalled.stall.restart()
        stalled.clock.advance(0.9)
    assert stalled.woken_at == []
    stalled.clock.advance(0.1)
    assert len(stalled.woken_at) == 1


def test_nothing_spooled_is_no_drip() -> None:
    stalled = Stalled(8, spooled_bytes=2)
    stalled.stall.restart()
    stalled.wait(100)
    assert (len(stalled.woken_at), stalled.clock.getDelayedCalls()) == (2, [])
    stalled.stall.restart()
    assert len(stalled.clock.getDelayedCalls()) == 1


def test_the_end_is_final() -> None:
    stalled = Stalled(8)
    stalled.stall.restart()
    stalled.stall.end()
    stalled.stall.restart()
    assert stalled.clock.getDelayedCalls() == []


def test_as_a_body_grows_more_may_be_dripped() -> None:
    stalled = Stalled(1)
    for more, woken in ((0, 1), (0, 1), (1, 2), (1, 2), (3, 4)):
        stalled.stall.restart(more)
        stalled.wait(100)
        assert len(stalled.woken_at) == woken
