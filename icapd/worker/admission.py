"""How much may wait for a scanner: as much as is served in time, measured and not guessed.

A queue that is longer than what the scanners do within `scanners.queue_wait_s` only makes everybody wait: who is
refused at once can be answered at once. The limit follows the waits that are measured, up slowly and down by a third
(additive increase, multiplicative decrease, as congestion windows do).
"""

from __future__ import annotations

from typing import Final

from icapd.worker.jobs import FairQueue, Job

_DECREASE: Final = 2 / 3
_INCREASE: Final = 1 / 16
"""Of the ceiling, for each target time that goes by with short waits."""
_FLOOR: Final = 1.0


class Line:
    """The bodies of one class that wait for a scanner, and the limit of their cost.

    State: `queue`; `limit` between 1 and the ceiling; `_changed_at`, when it was last moved.
    """

    def __init__(self, name: str, ceiling: int, target_s: float) -> None:
        self.name = name
        self.queue = FairQueue()
        self.limit = float(ceiling)
        self._ceiling = float(ceiling)
        self._target_s = target_s
        self._changed_at = 0.0

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
        if job is not None and not job.lost:
            self._note_wait(now - job.submitted_at, now)
        return job

    def _note_wait(self, waited_s: float, now: float) -> None:
        """Moves the limit, at most one step each target time."""
        if waited_s <= self._target_s:
            if self.limit < self._ceiling and now - self._changed_at >= self._target_s:
                self.limit = min(self._ceiling, self.limit + self._ceiling * _INCREASE)
                self._changed_at = now
        elif now - self._changed_at >= waited_s:  # what began to wait before the last step says nothing of it
            self.limit = max(_FLOOR, min(self.limit, self.queue.cost) * _DECREASE)
            self._changed_at = now
