"""The scanners of one front: queues before them, a nursery that forks them, a deadline that kills them.

Owns which scanner has which task. A job always ends: with an examination, or with a ScanError.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from icapd.config.schema import Scanners
from icapd.errors import LethalBody, Overloaded, ScanError, ScannerLost, ScanTimedOut, SpoolFull
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.reactor import Reactor
from icapd.scan.model import CacheKey
from icapd.scan.spool import Body
from icapd.scan.tree import Examination
from icapd.worker.admission import Line
from icapd.worker.frames import Exited, SandboxStep, ScanTask, Spawned, decode_answer, encode_task
from icapd.worker.held import Scanner
from icapd.worker.jobs import Job
from icapd.worker.memfd import read_only
from icapd.worker.nursing import NurseryProcess
from icapd.worker.packets import packet_pair
from icapd.worker.processes import DEATHS, back_off_s

_SWEEP_S = 0.05
_BACK_OFF_S = 0.05
_PAUSE_S = 0.05
"""Before the second turn of a job, so that it is not given to a scanner that is just dying with the first: a nursery
takes all of its scanners along."""
_UNFORKED = 1 / 8
_SPAWN_S = 5.0
"""A nursery that has not forked a scanner for so long hangs, and is replaced."""
_SCANNERS_A_BODY_MAX = 2
"""That may die with one body. It may be chance once: the system ran out of memory, somebody killed the process."""


class ScannerPool:
    """Takes bodies, gives examinations.

    State: `_scanners` that can take work or have it, `_leaving` those that are ending, both by slot number, which is
    never used twice; one line for small bodies and one for large ones; `_again`, the jobs whose scanner died, with
    the time of their second turn.
    """

    def __init__(
        self,
        reactor: Reactor,
        settings: Scanners,
        count: int,
        nursery: NurseryProcess,
        counters: Counters,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._count = count
        self._large_max = max(1, count - 1)
        self._nursery = nursery
        self._counters = counters
        self._log = log
        self._clock = clock
        self._scanners: dict[int, Scanner] = {}
        self._leaving: dict[int, Scanner] = {}
        self._idle: list[Scanner] = []
        self._small = Line("small", 2 * count, settings.queue_tasks, settings.queue_wait_s)
        self._large = Line("large", 2 * count, settings.queue_tasks, settings.queue_wait_s)
        self._again: list[tuple[float, Job]] = []
        self._running_large = 0
        self._next_number = 0
        self._early_deaths = 0
        self._refill_is_due = False
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = cast(IReactorTime, reactor)
        nursery.listen(self._fill, self._on_spawned, self._on_exited, self._on_nursery_lost)

    # For the front

    def start(self) -> None:
        self._sweeper.start(_SWEEP_S, now=False)
        self._nursery.start()

    def stop(self) -> None:
        """Ends all scanners; what still runs ends as lost."""
        if self._sweeper.running:
            self._sweeper.stop()
        self._nursery.stop()
        for scanner in list(self._scanners.values()):
            self._end(scanner, ScannerLost("the server is stopping"))
        for line in (self._small, self._large):
            while (job := line.queue.pop()) is not None:
                job.end(ScannerLost("the server is stopping"))
        while self._again:
            self._again.pop()[1].end(ScannerLost("the server is stopping"))

    @property
    def is_ready(self) -> bool:
        """The rules are loaded, and a scanner is there.

        Not every one: a body that crashes its scanner must not take a server out of its load balancer.
        """
        return self._nursery.is_loaded and any(s.pidfd is not None for s in self._scanners.values())

    @property
    def sandbox(self) -> tuple[SandboxStep, ...]:
        """What is in force in its scanners; empty before there was one."""
        return self._nursery.sandbox

    @property
    def queued(self) -> int:
        return len(self._small.queue) + len(self._large.queue) + len(self._again)

    @property
    def limits(self) -> list[tuple[str, float]]:
        """How much may wait at the moment, for each class of bodies."""
        return [(line.name, line.limit) for line in (self._small, self._large)]

    @property
    def running(self) -> int:
        return len(self._scanners) - len(self._idle)

    @property
    def alive(self) -> int:
        return len(self._scanners)

    def submit(
        self,
        key: CacheKey,
        engines: tuple[str, ...] | None,
        body: Body,
        client: str,
        deadline: float,
        kill_at: float,
    ) -> Deferred[Examination]:
        """Has the body examined, in an order that is fair to clients.

        Raises: through the Deferred, Overloaded at once or when a client with less takes the place, ScanTimedOut at
        `kill_at`, ScannerLost, LethalBody when two scanners died with it.
        """
        self._next_number += 1
        task = ScanTask(self._next_number, key.size_bytes, key.sha256, deadline, key.coding, engines)
        is_large = key.size_bytes >= self._settings.large_bytes
        job = Job(task, body, client, self._clock(), kill_at, is_large=is_large)
        waiting = job.wait(self._on_cancelled)
        line = self._line_of(job)
        refused = line.admit(job, is_full=len(line.queue) >= self._settings.queue_tasks)
        if refused is not None:
            self._counters.add("icapd_scans_refused_total", (line.name,))
            refused.end(Overloaded("as much waits as is scanned in time"))
        self._dispatch()
        return waiting

    def _on_cancelled(self, job: Job) -> None:
        """A queued job goes at once, and its body with it; a running one ends with its scanner's answer."""
        if self._line_of(job).queue.remove(job):
            job.end(ScannerLost("nobody waits"))

    # Jobs and scanners

    def _line_of(self, job: Job) -> Line:
        return self._large if job.is_large else self._small

    def _dispatch(self) -> None:
        while self._idle and (job := self._next_job()) is not None:
            self._give(self._idle.pop(), job)

    def _next_job(self) -> Job | None:
        """The older of those that may run: large ones never take the last scanner that small ones could have."""
        if not self._large.queue.cost or self._running_large >= self._large_max:
            return self._small.take(self._clock()) if self._small.queue.cost else None
        small, large = self._small.queue.peek(), self._large.queue.peek()
        if small is not None and (large is None or small.task.number < large.task.number):
            return self._small.take(self._clock())
        return None if large is None else self._large.take(self._clock())

    def _give(self, scanner: Scanner, job: Job) -> None:
        task, body = job.task, job.body
        parts: list[bytes] = [encode_task(task)]
        descriptors: list[int] = []
        try:
            if body.is_in_memory and task.size_bytes <= self._settings.inline_bytes:
                parts.append(body.content())
            else:
                descriptors.append(read_only(body.descriptor()))
        except (SpoolFull, OSError) as error:
            self._idle.append(scanner)
            job.end(Overloaded(str(error)))
            return
        scanner.job = job
        if job.is_large:
            self._running_large += 1
        scanner.channel.send(parts, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _take_back(self, scanner: Scanner) -> Job | None:
        job, scanner.job = scanner.job, None
        if job is not None and job.is_large:
            self._running_large -= 1
        return job

    def on_answer(self, scanner: Scanner, packet: bytes, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            answer = decode_answer(packet)
        except msgspec.MsgspecError:
            answer = None
        if answer is None or scanner.job is None or answer.number != scanner.job.task.number:
            self._log.event(EventName.SCANNER_LOST, slot=scanner.slot, reason="an answer that makes no sense")
            self._lose(scanner, "an answer that makes no sense")
            return
        job = self._take_back(scanner)
        scanner.tasks += 1
        self._early_deaths = 0
        if scanner.tasks >= self._settings.tasks_before_restart:
            self._dismiss(scanner, is_killed=False)
        else:
            self._idle.append(scanner)
        self._dispatch()
        if job is not None:
            job.end(answer.examination)

    def on_channel_lost(self, scanner: Scanner) -> None:
        if scanner.slot not in self._scanners:
            return
        if scanner.tasks == 0 and scanner.job is None:
            self._early_deaths += 1
        scanner.is_lost = True
        if scanner.has_exited:
            self._note_death(scanner)
        self._lose(scanner, "the process ended")

    def _note_death(self, scanner: Scanner) -> None:
        """Counts a scanner that ended by itself, once it is known by what."""
        number = scanner.signal_number
        cause, reason = DEATHS.get(number, ("crash", "the process ended"))
        self._counters.add("icapd_scanner_deaths_total", (cause,))
        self._log.event(EventName.SCANNER_LOST, slot=scanner.slot, reason=reason, signal=number or None)

    def _lose(self, scanner: Scanner, reason: str) -> None:
        """A scanner is no more. Its job has one more turn, unless it is the second scanner that died with it."""
        job = self._dismiss(scanner, is_killed=True)
        if job is None:
            return
        # A scanner that its nursery never forked did not die with it, but that cannot go on for ever either.
        job.lost += 1 if scanner.was_spawned else _UNFORKED
        if job.lost >= _SCANNERS_A_BODY_MAX:
            job.end(LethalBody(reason))
        else:
            self._again.append((self._clock() + _PAUSE_S, job))

    def _dismiss(self, scanner: Scanner, *, is_killed: bool) -> Job | None:
        """Parts with a scanner and has it replaced. Returns: the job it had."""
        del self._scanners[scanner.slot]
        if not scanner.has_exited:
            self._leaving[scanner.slot] = scanner
        if scanner in self._idle:
            self._idle.remove(scanner)
        scanner.channel.close()
        if is_killed:
            scanner.kill()
        job = self._take_back(scanner)
        self._refill()
        return job

    def _sweep(self) -> None:
        """Ends what is past its deadline, queued jobs and scanners with theirs; gives lost jobs their second turn."""
        now = self._clock()
        self._try_again(now)
        for line in (self._small, self._large):
            for job in line.queue.late(now):
                line.queue.remove(job)
                job.end(ScanTimedOut("no scanner was free in time"))
        # Those that were given up meanwhile count too: a deadline shorter than this replaces them again and again.
        if any(scanner.is_overdue(now - _SPAWN_S) for scanner in (*self._scanners.values(), *self._leaving.values())):
            self._nursery.on_hanging()
        for scanner in list(self._scanners.values()):
            if scanner.job is not None and scanner.job.kill_at <= now:
                self._counters.add("icapd_scanner_deaths_total", ("deadline",))
                self._log.event(EventName.SCANNER_KILLED, slot=scanner.slot, size_bytes=scanner.job.task.size_bytes)
                self._end(scanner, ScanTimedOut("the scanner was killed at the deadline"))

    def _try_again(self, now: float) -> None:
        due = [job for at, job in self._again if at <= now]
        self._again = [(at, job) for at, job in self._again if at > now]
        for job in due:
            if job.is_awaited:
                self._counters.add("icapd_scan_retries_total")
                self._line_of(job).queue.push_first(job)
            else:
                job.end(ScannerLost("nobody waits"))
        if due:
            self._dispatch()

    def _end(self, scanner: Scanner, reason: ScanError) -> None:
        """Kills a scanner; its job ends so."""
        job = self._dismiss(scanner, is_killed=True)
        if job is not None:
            job.end(reason)

    # The nursery

    def _refill(self) -> None:
        """Asks for the scanners that are missing; after early deaths only after a pause that grows."""
        if self._refill_is_due or not self._nursery.is_loaded:
            return
        delay_s = 0.0
        if self._early_deaths:
            delay_s = back_off_s(_BACK_OFF_S, self._early_deaths)
        self._refill_is_due = True
        self._reactor.callLater(delay_s, self._fill)

    def _fill(self) -> None:
        self._refill_is_due = False
        while len(self._scanners) < self._count and self._nursery.is_loaded:
            try:
                ours, theirs = packet_pair()
            except OSError as error:
                self._early_deaths += 1
                self._log.event(EventName.SCANNER_NOT_STARTED, reason=str(error))
                self._refill()
                break
            slot = self._nursery.spawn(theirs)
            theirs.close()
            if slot is None:
                ours.close()
                return
            self._scanners[slot] = scanner = Scanner(slot, self, self._reactor, ours)
            scanner.asked_at = self._clock()
            self._idle.append(scanner)
        self._dispatch()

    def _on_spawned(self, message: Spawned, pidfd: int) -> None:
        scanner = self._scanners.get(message.slot) or self._leaving.get(message.slot)
        if scanner is None:
            os.close(pidfd)
            return
        scanner.pidfd = pidfd
        scanner.was_spawned = True
        if scanner.is_doomed:
            scanner.kill()

    def _on_exited(self, message: Exited) -> None:
        scanner = self._leaving.pop(message.slot, None) or self._scanners.get(message.slot)
        if scanner is not None:
            scanner.forget(message.signal_number)
            if scanner.is_lost:
                self._note_death(scanner)

    def _on_nursery_lost(self) -> None:
        """All its scanners die with it; their channels say so one by one."""
        for scanner in self._leaving.values():
            scanner.forget()
            if scanner.is_lost:
                self._note_death(scanner)
        self._leaving.clear()
        for scanner in self._scanners.values():
            scanner.forget()
