"""One scan on its way through the pool, and the queue in which it waits for a scanner.

The queue is fair to clients by cost: one that brings a thousand bodies waits for its own, and one that brings a
single body does not wait for the thousand. It is start-time fair queueing (Goyal, Vin and Cheng, 1996): each job has
a start tag on a virtual clock that goes on by cost, the lowest is next, and a client's next tag lies behind its last
job.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Final

from twisted.internet.defer import Deferred

from icapd.errors import ScanError
from icapd.scan.spool import Body
from icapd.scan.tree import Examination
from icapd.worker.frames import ScanTask

COST_UNIT_BYTES: Final = 1024 * 1024
COST_MAX: Final = 64
"""Of one job: a body of this many units is no more expensive to wait for than to refuse."""

_FIRST: Final = -1.0
_STALE_MIN: Final = 64


class Job:
    """One task on its way through the pool.

    State: `_deferred` is None once the job has ended or its waiter has gone; the body is held until the job ends;
    `is_queued` while it waits in a queue; `lost` counts the scanners that died with it.
    """

    __slots__ = (
        "_deferred",
        "body",
        "client",
        "cost",
        "is_large",
        "is_queued",
        "kill_at",
        "lost",
        "submitted_at",
        "task",
    )

    def __init__(
        self, task: ScanTask, body: Body, client: str, submitted_at: float, kill_at: float, *, is_large: bool = False
    ) -> None:
        self.task = task
        self.is_large = is_large
        self.body = body.retain()
        self.client = client
        self.cost = min(1 + task.size_bytes // COST_UNIT_BYTES, COST_MAX)
        self.submitted_at = submitted_at
        self.kill_at = kill_at
        self.lost = 0.0
        self.is_queued = False
        self._deferred: Deferred[Examination] | None = None

    def wait(self, on_cancelled: Callable[[Job], None]) -> Deferred[Examination]:
        """The outcome; cancelling it calls `on_cancelled`, and the job ends unheard."""

        def forget(_: Deferred[Examination]) -> None:
            self._deferred = None
            on_cancelled(self)

        self._deferred = Deferred(forget)
        return self._deferred

    @property
    def is_awaited(self) -> bool:
        """Whether anybody still wants the outcome."""
        return self._deferred is not None

    def end(self, outcome: Examination | ScanError) -> None:
        """Gives the outcome to who waits, if anybody still does, and lets the body go."""
        deferred, self._deferred = self._deferred, None
        self.body.release()
        if deferred is None:
            return
        if isinstance(outcome, ScanError):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)


class _Lane:
    """The waiting jobs of one client, the oldest first. State: `finish` is where its next start tag lies."""

    __slots__ = ("cost", "finish", "jobs")

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.cost = 0
        self.finish = 0.0


class FairQueue:
    """Jobs that wait.

    State: `cost` of all that wait; `_tags`, a heap of start tags in which jobs that have left stay until they are
    met; `_lanes` only of clients that have a job here; `_clock`, the tag of the job that left last.
    """

    def __init__(self) -> None:
        self.cost = 0
        self._count = 0
        self._clock = 0.0
        self._tags: list[tuple[float, int, Job]] = []
        self._lanes: dict[str, _Lane] = {}

    def __len__(self) -> int:
        return self._count

    def push(self, job: Job) -> None:
        """Adds a job behind its client's others."""
        lane = self._lanes.get(job.client)
        if lane is None:
            lane = self._lanes[job.client] = _Lane()
        start = max(self._clock, lane.finish)
        lane.finish = start + job.cost
        self._enter(job, lane, start)

    def push_first(self, job: Job) -> None:
        """Adds a job that has had its turn before all others."""
        lane = self._lanes.setdefault(job.client, _Lane())
        self._enter(job, lane, _FIRST)

    def peek(self) -> Job | None:
        """The next job; it stays."""
        tags = self._tags
        while tags and not tags[0][2].is_queued:
            heapq.heappop(tags)
        return tags[0][2] if tags else None

    def pop(self) -> Job | None:
        """The next job, which leaves."""
        job = self.peek()
        if job is None:
            return None
        self._clock = max(self._clock, heapq.heappop(self._tags)[0])
        self._leave(job)
        return job

    def remove(self, job: Job) -> bool:
        """Takes a job out; False when it is not here."""
        if not job.is_queued:
            return False
        self._leave(job)
        if len(self._tags) > 2 * self._count + _STALE_MIN:
            self._tags = [tag for tag in self._tags if tag[2].is_queued]
            heapq.heapify(self._tags)
        return True

    def late(self, now: float) -> list[Job]:
        """The jobs whose time is over."""
        return [job for job in self if job.kill_at <= now]

    def displaceable(self, newcomer: Job) -> Job | None:
        """The newest job of the client that has most waiting, if that stays more than the newcomer's client has."""
        own = self._lanes.get(newcomer.client)
        own_cost = newcomer.cost + (own.cost if own is not None else 0)
        greediest = max(self._lanes.values(), key=lambda lane: lane.cost, default=None)
        if greediest is None or greediest is own or greediest.cost <= own_cost:
            return None
        return next(reversed(greediest.jobs.values()))

    def __iter__(self) -> Iterator[Job]:
        return (job for lane in self._lanes.values() for job in lane.jobs.values())

    def _enter(self, job: Job, lane: _Lane, start: float) -> None:
        job.is_queued = True
        lane.jobs[job.task.number] = job
        lane.cost += job.cost
        self.cost += job.cost
        self._count += 1
        heapq.heappush(self._tags, (start, job.task.number, job))

    def _leave(self, job: Job) -> None:
        job.is_queued = False
        self.cost -= job.cost
        self._count -= 1
        lane = self._lanes[job.client]
        del lane.jobs[job.task.number]
        lane.cost -= job.cost
        if not lane.jobs:
            del self._lanes[job.client]
