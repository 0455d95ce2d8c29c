"""The queue before the scanners: in order for one client, fair by cost among several, no longer than is served."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.config.schema import SpoolTable
from icapd.scan.spool import Spool
from icapd.worker.admission import Line
from icapd.worker.frames import ScanTask
from icapd.worker.jobs import COST_MAX, COST_UNIT_BYTES, FairQueue, Job

MiB = 1024 * 1024

_numbers = itertools.count(1)


def job(client: str = "a", size_bytes: int = 0, kill_at: float = 60.0, submitted_at: float = 0.0) -> Job:
    task = ScanTask(next(_numbers), size_bytes, b"", 0.0)
    return Job(task, Spool(SpoolTable()).open(1), client, submitted_at, kill_at)


def taken(queue: FairQueue) -> Iterator[Job]:
    while (following := queue.pop()) is not None:
        yield following


def clients(queue: FairQueue) -> str:
    return "".join(each.client for each in taken(queue))


@pytest.mark.parametrize(
    ("size_bytes", "cost"),
    [
        (0, 1),
        (COST_UNIT_BYTES - 1, 1),
        (COST_UNIT_BYTES, 2),
        ((COST_MAX - 1) * COST_UNIT_BYTES, COST_MAX),
        (COST_MAX * COST_UNIT_BYTES, COST_MAX),
    ],
)
def test_a_job_costs_by_its_size(size_bytes: int, cost: int) -> None:
    assert job(size_bytes=size_bytes).cost == cost


def test_one_client_is_served_in_order() -> None:
    queue = FairQueue()
    jobs = [job(size_bytes=size * MiB) for size in (3, 0, 7, 1)]
    for each in jobs:
        queue.push(each)
    assert (len(queue), queue.cost) == (4, 4 + 1 + 8 + 2)
    assert list(taken(queue)) == jobs
    assert (len(queue), queue.cost, queue.peek(), queue.pop()) == (0, 0, None, None)


def test_clients_take_turns() -> None:
    queue = FairQueue()
    for client in "aaaabbc":
        queue.push(job(client))
    assert clients(queue) == "abcabaa"


def test_turns_are_shared_out_by_cost() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.push(job("a", 2 * MiB))
    for _ in range(6):
        queue.push(job("b"))
    assert clients(queue) == "abbbabbba"


def test_who_comes_later_has_saved_up_nothing() -> None:
    queue = FairQueue()
    for _ in range(6):
        queue.push(job("a"))
    for _ in range(3):
        queue.pop()
    for _ in range(3):
        queue.push(job("b"))
    assert clients(queue) == "bababa"


def test_what_has_its_second_turn_goes_first() -> None:
    queue = FairQueue()
    again = job("b")
    for each in (job("a"), job("a")):
        queue.push(each)
    queue.push_first(again)
    assert next(taken(queue)) is again


def test_what_is_taken_out_is_not_served() -> None:
    queue = FairQueue()
    jobs = [job() for _ in range(3)]
    for each in jobs:
        queue.push(each)
    assert queue.remove(jobs[0])
    assert not queue.remove(jobs[0])
    assert not queue.remove(job())
    assert list(taken(queue)) == jobs[1:]


def test_what_was_taken_out_takes_no_room() -> None:
    queue = FairQueue()
    staying = job()
    queue.push(staying)
    for _ in range(10_000):
        leaving = job()
        queue.push(leaving)
        queue.remove(leaving)
    assert len(queue._tags) < 100
    assert list(taken(queue)) == [staying]


def test_late_jobs_are_found() -> None:
    queue = FairQueue()
    early, late = job(kill_at=1.0), job("b", kill_at=2.0)
    for each in (late, early):
        queue.push(each)
    assert (queue.late(0.9), queue.late(1.0)) == ([], [early])


def test_the_newest_of_the_greediest_may_be_displaced() -> None:
    queue = FairQueue()
    greedy = [job("a") for _ in range(3)]
    for each in (*greedy, job("b")):
        queue.push(each)
    assert queue.displaceable(job("c")) is greedy[-1]
    assert queue.displaceable(job("b")) is greedy[-1]
    assert queue.displaceable(job("a")) is None
    assert queue.displaceable(job("c", 1 * MiB)) is greedy[-1]
    assert queue.displaceable(job("c", 2 * MiB)) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=60))
def test_nothing_is_lost_and_the_books_are_right(steps: list[tuple[str, int, bool]]) -> None:
    queue = FairQueue()
    inside: list[Job] = []
    for client, size, pops in steps:
        if pops and inside:
            served = queue.pop()
            assert served is not None
            assert served is min(
                (each for each in inside if each.client == served.client), key=lambda j: j.task.number
            )
            inside.remove(served)
        else:
            inside.append(job(client, size * MiB))
            queue.push(inside[-1])
        assert (len(queue), queue.cost, set(queue)) == (len(inside), sum(j.cost for j in inside), set(inside))


def fill(line: Line) -> int:
    count = 0
    while line.admit(job(), is_full=False) is None:
        count += 1
    return count


def serve(line: Line, count: int, apart_s: float, now: float = 1000.0) -> None:
    """Begins so many jobs of a full line, each so long after the last."""
    for number in range(count):
        fill(line)
        assert line.take(now + number * apart_s) is not None


def test_a_line_takes_its_ceiling_and_not_one_more() -> None:
    assert fill(Line("small", 4, 100, 1.0)) == 100


def test_an_empty_line_takes_the_largest_body() -> None:
    line = Line("large", 1, 1, 1.0)
    assert line.admit(job(size_bytes=1 << 40), is_full=False) is None
    refused = job(size_bytes=1)
    assert line.admit(refused, is_full=False) is refused


def test_as_much_may_wait_as_is_begun_in_time() -> None:
    line = Line("small", 4, 1000, 2.0)
    serve(line, 100, 0.1)
    assert line.limit == pytest.approx(20)
    serve(line, 200, 0.01)
    assert line.limit == pytest.approx(200, rel=0.01)
    serve(line, 200, 0.0001)
    assert line.limit == 1000
    serve(line, 200, 10.0)
    assert line.limit == 4


def test_time_is_measured_by_cost() -> None:
    line = Line("large", 4, 1000, 2.0)
    for number in range(100):
        line.admit(job(size_bytes=9 * MiB), is_full=False)
        line.admit(job(size_bytes=9 * MiB), is_full=False)
        line.take(number * 1.0)
    assert line.limit == pytest.approx(20)


def test_without_others_that_wait_nothing_is_measured() -> None:
    line = Line("small", 4, 1000, 1.0)
    for number in range(10):
        line.admit(job(), is_full=False)
        line.take(number * 60.0)
    assert line.limit == 1000
    assert line.take(1e6) is None


def test_a_full_line_refuses_who_has_most() -> None:
    line = Line("small", 4, 100, 1.0)
    mine, newcomer, own = job("a"), job("b"), job("a")
    for each in (job("a"), mine):
        line.admit(each, is_full=False)
    assert line.admit(own, is_full=True) is own
    assert line.admit(newcomer, is_full=True) is mine
    assert newcomer.is_queued
    assert not mine.is_queued
