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


class Served:
    """A line whose jobs each wait the same time before they begin. State: `now`."""

    def __init__(self, ceiling: int = 100, target_s: float = 1.0) -> None:
        self.line = Line("small", ceiling, target_s)
        self.now = 1000.0

    def serve(self, waited_s: float, count: int = 1, apart_s: float = 0.1) -> None:
        for _ in range(count):
            self.now += apart_s
            assert self.line.admit(job(submitted_at=self.now - waited_s), is_full=False) is None
            assert self.line.take(self.now) is not None


def fill(line: Line) -> int:
    count = 0
    while line.admit(job(), is_full=False) is None:
        count += 1
    return count


def test_a_line_takes_its_ceiling_and_not_one_more() -> None:
    assert fill(Line("small", 100, 1.0)) == 100


def test_an_empty_line_takes_the_largest_body() -> None:
    line = Line("large", 1, 1.0)
    assert line.admit(job(size_bytes=1 << 40), is_full=False) is None
    refused = job(size_bytes=1)
    assert line.admit(refused, is_full=False) is refused


def test_waits_within_the_target_leave_the_limit_alone() -> None:
    served = Served()
    served.serve(1.0, count=50)
    assert served.line.limit == 100


def test_longer_waits_cut_the_limit_below_what_waits() -> None:
    served = Served()
    fill(served.line)
    assert served.line.take(served.now) is not None
    assert served.line.limit == 99 * 2 / 3
    assert served.line.take(served.now + 1) is not None
    assert served.line.limit == 99 * 2 / 3


def test_there_is_one_cut_for_one_wait() -> None:
    served = Served()
    served.serve(1.5)
    assert served.line.limit == 1
    served.line.limit = 50
    served.serve(1.5, count=5)
    assert served.line.limit == 50


def test_short_waits_raise_the_limit_again_to_its_ceiling() -> None:
    served = Served()
    served.line.limit = 1
    served.serve(0.5, count=11)
    assert served.line.limit == pytest.approx(1 + 2 * 100 / 16)
    served.serve(0.5, count=400)
    assert served.line.limit == 100


def test_a_full_line_refuses_who_has_most() -> None:
    line = Line("small", 100, 1.0)
    mine, newcomer, own = job("a"), job("b"), job("a")
    for each in (job("a"), mine):
        line.admit(each, is_full=False)
    assert line.admit(own, is_full=True) is own
    assert line.admit(newcomer, is_full=True) is mine
    assert newcomer.is_queued
    assert not mine.is_queued
