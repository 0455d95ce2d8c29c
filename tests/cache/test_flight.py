"""Single flight: one scan for identical bodies, and nobody's end is another's."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from icapd.cache.flight import SingleFlight
from icapd.scan.model import CacheKey, ScanReport, Verdict
from tests.cache.samples import cache_key, clean_report, malicious_report, report_with
from tests.support.reactor import wait_for

KEY = cache_key()


class Scan:
    """Work that ends when the test says so. `starts` counts how often it was begun."""

    def __init__(self) -> None:
        self.starts = 0
        self.was_cancelled = False
        self.result: Deferred[ScanReport] = Deferred(self._cancelled)

    def _cancelled(self, result: Deferred[ScanReport]) -> None:
        self.was_cancelled = True

    def __call__(self) -> Deferred[ScanReport]:
        self.starts += 1
        return self.result


def join(flights: SingleFlight[ScanReport], scan: Scan, key: CacheKey = KEY) -> Deferred[ScanReport]:
    return flights.share(key, scan)


def outcome_of(deferred: Deferred[ScanReport]) -> ScanReport | Failure:
    outcomes: list[ScanReport | Failure] = []
    deferred.addBoth(outcomes.append)
    assert outcomes, "nothing has come yet"
    return outcomes[0]


def error_of(deferred: Deferred[ScanReport]) -> BaseException:
    outcome = outcome_of(deferred)
    assert isinstance(outcome, Failure)
    assert outcome.value is not None
    return outcome.value


def test_identical_bodies_share_one_scan() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    callers = [join(flights, scan) for _ in range(5)]
    assert (scan.starts, flights.shared, len(flights)) == (1, 4, 1)
    assert flights.is_under_way(KEY)
    assert not flights.is_under_way(cache_key("another"))
    assert not any(caller.called for caller in callers)
    scan.result.callback(malicious_report())
    assert [outcome_of(caller) for caller in callers] == [malicious_report()] * 5
    assert not flights.is_under_way(KEY)
    assert len(flights) == 0


def test_other_keys_have_scans_of_their_own() -> None:
    flights = SingleFlight[ScanReport]()
    scans = [Scan(), Scan(), Scan()]
    keys = [KEY, cache_key(ruleset="r2"), cache_key(coding="gzip")]
    callers = [join(flights, scan, key) for scan, key in zip(scans, keys, strict=True)]
    assert [scan.starts for scan in scans] == [1, 1, 1]
    for scan in scans:
        scan.result.callback(clean_report())
    assert [outcome_of(caller) for caller in callers] == [clean_report()] * 3


def test_work_that_ends_at_once_leaves_nothing() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    scan.result = succeed(clean_report())
    assert outcome_of(join(flights, scan)) == clean_report()
    assert len(flights) == 0


def test_a_result_is_not_kept() -> None:
    flights, first, second = SingleFlight[ScanReport](), Scan(), Scan()
    caller = join(flights, first)
    first.result.callback(clean_report())
    assert outcome_of(caller) == clean_report()
    join(flights, second)
    assert second.starts == 1


def test_the_first_caller_may_leave() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    first, second = join(flights, scan), join(flights, scan)
    first.cancel()
    assert isinstance(error_of(first), CancelledError)
    assert not scan.was_cancelled
    scan.result.callback(clean_report())
    assert outcome_of(second) == clean_report()


def test_a_follower_may_leave() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    first, second, third = (join(flights, scan) for _ in range(3))
    second.cancel()
    assert isinstance(error_of(second), CancelledError)
    scan.result.callback(clean_report())
    assert outcome_of(first) == outcome_of(third) == clean_report()


def test_work_that_nobody_wants_any_more_is_cancelled() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    callers = [join(flights, scan) for _ in range(3)]
    for caller in callers:
        assert not scan.was_cancelled
        caller.cancel()
        assert isinstance(error_of(caller), CancelledError)
    assert scan.was_cancelled
    assert len(flights) == 0


def test_who_comes_after_everyone_left_starts_afresh() -> None:
    flights, stubborn, fresh = SingleFlight[ScanReport](), Deferred[ScanReport](), Scan()

    def goes_on() -> Deferred[ScanReport]:
        work = Deferred[ScanReport]()
        work.addErrback(lambda failure: failure.trap(CancelledError) and stubborn)
        return work

    first = flights.share(KEY, goes_on)
    first.cancel()
    assert isinstance(error_of(first), CancelledError)
    second = join(flights, fresh)
    stubborn.callback(malicious_report())
    assert len(flights) == 1
    fresh.result.callback(clean_report())
    assert outcome_of(second) == clean_report()


def test_an_exception_reaches_everyone_and_is_not_kept() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    callers = [join(flights, scan) for _ in range(3)]
    scan.result.errback(OSError("the scanner is gone"))
    assert [str(error_of(caller)) for caller in callers] == ["the scanner is gone"] * 3
    assert len(flights) == 0
    again = Scan()
    join(flights, again)
    assert again.starts == 1


def test_an_error_report_reaches_everyone_and_is_not_kept() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    callers = [join(flights, scan) for _ in range(2)]
    scan.result.callback(report_with(Verdict.ERROR))
    assert [outcome_of(caller) for caller in callers] == [report_with(Verdict.ERROR)] * 2
    assert len(flights) == 0


def test_work_that_cannot_even_start_leaves_nothing() -> None:
    flights = SingleFlight[ScanReport]()

    def cannot_start() -> Deferred[ScanReport]:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        wait_for(flights.share(KEY, cannot_start))
    assert len(flights) == 0


def test_a_caller_that_fails_on_the_result_does_not_keep_it_from_the_others() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()

    async def clumsy() -> ScanReport:
        await flights.share(KEY, scan)
        raise RuntimeError("the client is gone")

    first, second = Deferred.fromCoroutine(clumsy()), join(flights, scan)
    scan.result.callback(clean_report())
    assert isinstance(error_of(first), RuntimeError)
    assert outcome_of(second) == clean_report()


def test_a_caller_may_cancel_another_when_its_result_comes() -> None:
    flights, scan = SingleFlight[ScanReport](), Scan()
    first = join(flights, scan)
    second = join(flights, scan)
    first.addCallback(lambda report: second.cancel())
    scan.result.callback(clean_report())
    assert isinstance(error_of(second), CancelledError)
    assert len(flights) == 0
