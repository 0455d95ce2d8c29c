"""The breaker's table, row by row."""

from __future__ import annotations

from icapd.breaker import Breaker, BreakerState


def opened(failures: int = 3, retry_s: float = 5) -> Breaker:
    breaker = Breaker(failures, retry_s)
    for _ in range(failures):
        breaker.failed(now=100)
    return breaker


def test_opens_at_the_limit_and_not_before() -> None:
    breaker = Breaker(3, 5)
    breaker.failed(100)
    breaker.failed(100)
    assert breaker.admits(100)
    breaker.failed(100)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits(100)


def test_only_failures_in_a_row_count() -> None:
    breaker = Breaker(2, 5)
    for _ in range(5):
        breaker.failed(100)
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_is_left_alone_until_the_retry_time() -> None:
    breaker = opened()
    assert not breaker.admits(104.999)
    assert breaker.admits(105)


def test_admits_one_probe_only() -> None:
    breaker = opened()
    breaker.begin()
    assert breaker.state is BreakerState.PROBING
    assert not breaker.admits(1000)


def test_a_probe_that_succeeds_closes() -> None:
    breaker = opened()
    breaker.begin()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(200)
    breaker.failed(200)
    assert breaker.admits(200)


def test_a_probe_that_fails_opens_again_at_once() -> None:
    breaker = opened()
    breaker.begin()
    breaker.failed(105)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits(109.999)
    assert breaker.admits(110)


def test_a_probe_that_never_set_out_leaves_the_probe_to_the_next() -> None:
    breaker = opened()
    breaker.begin()
    breaker.withdrawn()
    assert breaker.state is BreakerState.OPEN
    assert breaker.admits(105)


def test_late_ends_of_old_commands_change_nothing_while_open() -> None:
    breaker = opened()
    breaker.succeeded()
    breaker.failed(104)
    breaker.withdrawn()
    assert breaker.state is BreakerState.OPEN
    assert breaker.admits(105)


def test_withdrawn_commands_are_no_failures() -> None:
    breaker = Breaker(1, 5)
    breaker.begin()
    breaker.withdrawn()
    assert breaker.state is BreakerState.CLOSED
