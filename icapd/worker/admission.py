"""How much may wait for a scanner: as much as is served in time, measured and not guessed.

A queue that is longer than what the scanners do within `scanners.queue_wait_s` only makes everybody wait: who is
refused at once can be answered at once. By Little's law the cost that may wait is that time divided by the time which
one unit of cost takes; that is measured from one begin to the next while others wait, and follows what the machine
can do now.
"""

from __future__ import annotations

from typing import Final

from icapd.worker.jobs import FairQueue, Job

_WEIGHT: Final = 1 / 16
"""Of one more measurement in their mean."""


class Line:
    """The bodies of one class that wait for a scanner, and the limit of their cost.

    State: `queue`; `limit` between floor and ceiling; `_unit_s`, the mean time that one unit of cost takes, 0 while
    nobody has had to wait; `_taken`, when the last job began and what it cost, where others waited behind it.
    """

    def __init__(self, name: str, floor: int, ceiling: int, target_s: float) -> None:
        self.name = name
        self.queue = FairQueue()
        self.limit = float(ceiling)
        self._floor = float(min(floor, ceiling))
        self._ceiling = float(ceiling)
        self._target_s = target_s
        self._unit_s = 0.0
        self._taken: tuple[float, int] | None = None

    def admit(self, newcomer: Job, *, is_full: bool) -> Job | None:
        """Lets a job wait if there is room: in an empty line for any, or a large one could never pass. Where there is
        none, it may take the place of one whose client has more waiting.

        Args: `is_full` says that no room is left for other reasons.
        Returns: the job that may not wait, if there is one: the newcomer or the one it displaced.
        """
        queue = self.queue
        displaced = None
        if is_full or (queue.cost and queue.cost + newcomer.cost > self.limit):
            displaced = queue.displaceable(newcomer)
            if displaced is None:
                return newcomer
            queue.remove(displaced)
        queue.push(newcomer)
        return displaced

    def take(self, now: float) -> Job | None:
        """The next job, which begins now."""
        job = self.queue.pop()
        if job is None:
            return None
        if self._taken is not None:
            taken_at, cost = self._taken
            self._measure((now - taken_at) / cost)
        self._taken = (now, job.cost) if self.queue else None
        return job

    def _measure(self, unit_s: float) -> None:
        self._unit_s += (unit_s - self._unit_s) * (_WEIGHT if self._unit_s else 1.0)
        if self._unit_s:
            self.limit = min(self._ceiling, max(self._floor, self._target_s / self._unit_s))
