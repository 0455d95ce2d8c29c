"""Remote engines in a front: their times, their failures, and what is made of both. Beside the scanners.

A scan that fails or takes long says little of the server: the body may be to blame, and a client must not be able to
switch an engine off by sending such bodies. So a doubt has the server probed, and the probes alone decide. After some
that failed in a row the server is left alone: nobody waits for it, every report is FAILED, until a probe is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from msgspec import structs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from icapd.breaker import Breaker, BreakerState
from icapd.errors import IcapdError, RemoteFailed
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.reactor import DelayedCall, Reactor
from icapd.scan.engine_api import RemoteBody, RemoteEngine, RemoteOptions
from icapd.scan.model import CacheKey, EngineReport, Outcome
from icapd.scan.spool import Body

ABSENT: Final = "engine absent"
"""The reason of a report by an engine whose server is left alone."""
DOUBT_S: Final = 2.0
"""A scan that takes longer has the server probed: it may hang."""
AGAIN_S: Final = 0.5
"""Between probes while in doubt."""
_REASON_CHARACTERS_MAX: Final = 200


class ShownBody:
    """A spooled body as a remote engine sees it."""

    def __init__(self, key: CacheKey, body: Body) -> None:
        self.size_bytes = key.size_bytes
        self.sha256 = key.sha256
        self.coding = key.coding
        self.read = body.read
        self.descriptor = body.descriptor


async def probe(engine: RemoteEngine, options: RemoteOptions, reactor: Reactor) -> str:
    """What answers there. Raises: RemoteFailed, also when nothing does in time; what the engine raises."""
    asking = Deferred.fromCoroutine(engine.probe())
    asking.addTimeout(options.connect_timeout_s, cast(IReactorTime, reactor))
    try:
        return await asking
    except TimedOut as late:
        raise RemoteFailed(f"no answer to a probe within {options.connect_timeout_s:g} s") from late


class WatchedEngine:
    """One remote engine of one front.

    State: `_breaker`, which closes by a probe alone; `_running`, scans under way; `_probing`, the probe under way;
    `_again`, when the next one is due.
    """

    def __init__(
        self,
        engine: RemoteEngine,
        options: RemoteOptions,
        reactor: Reactor,
        counters: Counters,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = engine.name
        self._engine = engine
        self._options = options
        self._reactor = reactor
        self._counters = counters
        self._log = log
        self._clock = clock
        self._breaker = Breaker(options.failures_before_rest, options.retry_s)
        self._running: set[Deferred[EngineReport]] = set()
        self._probing: Deferred[None] | None = None
        self._again: DelayedCall | None = None
        self._is_stopped = False

    def start(self) -> None:
        self._engine.start(self._reactor)

    def stop(self) -> None:
        self._is_stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._probing is not None:
            self._probing.cancel()
        self._give_up_all()
        self._engine.stop()

    @property
    def is_left_alone(self) -> bool:
        return self._breaker.state is not BreakerState.CLOSED

    async def scan(self, body: RemoteBody, deadline: float) -> EngineReport:
        """Never fails, unless it is cancelled."""
        started = self._clock()
        report = await self._ask(body, min(deadline, started + self._options.timeout_s))
        elapsed_s = self._clock() - started
        self._counters.observe("icapd_remote_scan_seconds", (self.name, report.outcome), elapsed_s)
        findings = report.findings
        if report.engine != self.name:  # one more of an engine, under a name of its own
            findings = tuple(structs.replace(finding, engine=self.name) for finding in findings)
        return structs.replace(report, engine=self.name, findings=findings, elapsed_s=elapsed_s)

    async def _ask(self, body: RemoteBody, deadline: float) -> EngineReport:
        if self.is_left_alone:
            return self._failed(ABSENT)
        asking = Deferred.fromCoroutine(self._engine.scan(body, deadline))
        self._running.add(asking)
        doubt = self._reactor.callLater(DOUBT_S, self._doubt)
        asking.addTimeout(max(0.0, deadline - self._clock()), cast(IReactorTime, self._reactor))
        try:
            return await asking
        except TimedOut:
            self._doubt()
            return EngineReport(self.name, Outcome.TIMED_OUT, reason="no answer in time")
        except RemoteFailed as error:
            self._doubt()
            return self._failed(str(error))
        except CancelledError:
            if self.is_left_alone or self._is_stopped:
                return self._failed(ABSENT)
            raise
        except IcapdError as error:
            return self._failed(str(error))
        except Exception as error:  # the border: an engine of somebody else may raise anything
            what = f"{self.name}: {type(error).__name__}: {error}"
            self._counters.add("icapd_internal_errors_total")
            self._log.event(EventName.INTERNAL_ERROR, error=what)
            return self._failed(what)
        finally:
            self._running.discard(asking)
            if doubt.active():
                doubt.cancel()

    def _failed(self, reason: str) -> EngineReport:
        return EngineReport(self.name, Outcome.FAILED, reason=reason[:_REASON_CHARACTERS_MAX])

    # Probes

    def _doubt(self) -> None:
        """Has the server probed, unless a probe is under way or due."""
        is_due = self._again is not None and self._again.active()
        if self._probing is None and not is_due and not self._is_stopped:
            self._probe()

    def _probe(self) -> None:
        self._breaker.begin()
        probing = Deferred.fromCoroutine(probe(self._engine, self._options, self._reactor))
        ended = probing.addCallbacks(self._on_answer, self._on_silence)
        self._probing = None if ended.called else ended

    def _on_answer(self, version: str) -> None:
        self._probing = None
        was_left_alone = self.is_left_alone
        self._breaker.succeeded()
        if was_left_alone:
            self._log.event(EventName.REMOTE_ENGINE_STATE, engine=self.name, state="in use", detail=version)

    def _on_silence(self, failure: Failure) -> None:
        self._probing = None
        if self._is_stopped:
            return
        was_left_alone = self.is_left_alone
        self._breaker.failed(self._reactor.seconds())
        if self.is_left_alone and not was_left_alone:
            detail = failure.getErrorMessage()
            self._log.event(EventName.REMOTE_ENGINE_STATE, engine=self.name, state="left alone", detail=detail)
            self._give_up_all()
        wait_s = self._options.retry_s if self.is_left_alone else AGAIN_S
        self._again = self._reactor.callLater(wait_s, self._probe)

    def _give_up_all(self) -> None:
        for asking in list(self._running):
            asking.cancel()


class RemoteScan:
    """The scans of one body by remote engines.

    State: `_reports` of those that have ended. The body is kept until all have.
    """

    def __init__(self, engines: Iterable[WatchedEngine], shown: RemoteBody, body: Body, deadline: float) -> None:
        self._names = []
        self._reports: dict[str, EngineReport] = {}
        scans = []
        for engine in engines:
            self._names.append(engine.name)
            body.retain()
            scan = Deferred.fromCoroutine(engine.scan(shown, deadline))
            scan.addCallback(self._take)
            scan.addBoth(_release, body)
            scans.append(scan)
        self._scans = scans

    def ended(self) -> Deferred[Any]:
        """When all have ended, however."""
        return DeferredList(self._scans, consumeErrors=True)

    def reports(self, *, is_settled: bool = False) -> list[EngineReport]:
        """One of each engine. One that has not ended is SKIPPED if nothing that it could still say would change
        anything, and otherwise has failed."""
        outcome = Outcome.SKIPPED if is_settled else Outcome.FAILED
        reason = "what others found settles it" if is_settled else "given up"
        return [self._reports.get(name) or EngineReport(name, outcome, reason=reason) for name in self._names]

    def end(self) -> None:
        """Gives up those that still run."""
        for scan in self._scans:
            scan.addErrback(_ignore)
            scan.cancel()

    def _take(self, report: EngineReport) -> None:
        self._reports[report.engine] = report


class RemoteEngines:
    """All remote engines of one configuration, by name."""

    def __init__(self, engines: Iterable[WatchedEngine]) -> None:
        self._engines = {engine.name: engine for engine in engines}

    def start(self) -> None:
        for engine in self._engines.values():
            engine.start()

    def stop(self) -> None:
        for engine in self._engines.values():
            engine.stop()

    def begin(self, names: Sequence[str], key: CacheKey, body: Body, deadline: float) -> RemoteScan:
        """Has these engines look at a body, all at once. Units: `deadline` is a `time.monotonic()` reading."""
        return RemoteScan((self._engines[name] for name in names), ShownBody(key, body), body, deadline)

    def left_alone(self) -> dict[str, bool]:
        """Which servers are not asked at the moment, by engine."""
        return {name: engine.is_left_alone for name, engine in self._engines.items()}


def _release(outcome: object, body: Body) -> object:
    body.release()
    return outcome


def _ignore(failure: Failure) -> None:
    """Nobody waits for it any more."""
