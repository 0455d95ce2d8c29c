"""A front without sockets: the same nursery, scanners, pipeline and policy, for files instead of clients.

The process that runs this reads files and computes digests; it parses no content, as little as a front does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.python.failure import Failure

from icapd.cache.flight import SingleFlight
from icapd.cache.tiers import VerdictCache
from icapd.cli.files import FileBody, open_body
from icapd.config.load import Loaded
from icapd.config.schema import DiskCache, MemcachedCache, SpoolTable, time_zone, week_minute
from icapd.errors import ConfigurationError, IcapdError, Problem
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.plugins import RulesetSnapshot, build_remote_engines
from icapd.policy.facts import Decision, Facts
from icapd.reactor import Reactor, install_reactor
from icapd.scan.model import CacheKey, Identity, ScanReport, Verdict
from icapd.scan.pipeline import Judging, Pipeline, in_context
from icapd.scan.remote import RemoteEngines, WatchedEngine
from icapd.scan.spool import Body, Spool
from icapd.worker.nursing import NurseryProcess
from icapd.worker.pool import ScannerPool
from icapd.worker.rules import make_rules
from icapd.worker.sandbox import Confinement

SERVICE = "/scan"
_READY_CHECK_S = 0.01
_TICK_S = 0.1
_TROUBLES_MAX = 3
_TURN_BYTES = 4 * 1024 * 1024
_EMPTY = ScanReport(Verdict.CLEAN, identity=Identity("application/x-empty", "empty"))


class NoScanners(IcapdError):
    """The scanners do not start, or keep dying."""


class Scanned(NamedTuple):
    """One file: what is in it, and what policy says of it."""

    path: str
    report: ScanReport
    decision: Decision
    sha256: bytes


class Sink:
    """Who hears of the files; called in the reactor, must not raise."""

    def __init__(
        self,
        on_scanned: Callable[[Scanned], None],
        on_unread: Callable[[str, OSError], None],
        on_tick: Callable[[], None],
    ) -> None:
        self.on_scanned = on_scanned
        self.on_unread = on_unread
        self.on_tick = on_tick


class OfflineScan:
    """Scans files, as many at once as there are scanners.

    State: `_is_stopping` once no more files are taken; `_failure`, what ended the scan early.
    """

    def __init__(
        self,
        loaded: Loaded,
        snapshot: RulesetSnapshot,
        jobs: int,
        files: Iterator[str],
        readable: Sequence[str],
        sink: Sink,
    ) -> None:
        settings = loaded.settings
        # Every file has a scanner for itself, so that no class of them ever waits for another.
        scanners = settings.scanners.model_copy(update={"large_bytes": sys.maxsize})
        cache = settings.cache.model_copy(update={"disk": DiskCache(), "memcached": MemcachedCache()})
        self._reactor: Reactor = install_reactor()
        self._files = files
        self._sink = sink
        self._jobs = jobs
        self._policy = loaded.policies[settings.server.policy]
        self._zone = time_zone(settings.server.time_zone)
        self._memory_bytes = scanners.inline_bytes
        self._spool = Spool(SpoolTable())  # its totals bound what clients send; files stay where they are
        self._troubles = 0
        self._is_stopping = False
        self._failure: BaseException | None = None
        required = frozenset(each.name for each in snapshot.engines if settings.engines[each.name].required)
        self._judging = Judging(snapshot.ruleset, None, required, tuple(engine.name for engine in snapshot.remote))
        log = EventLog("error", self._on_trouble, "scan")
        counters = Counters()
        nursery = NurseryProcess(
            self._reactor,
            make_rules(snapshot),
            Confinement.of(scanners, SpoolTable().directory, *readable),
            log,
            self._on_build_failed,
        )
        self._pool = ScannerPool(self._reactor, scanners, jobs, nursery, counters, log)
        self._remotes = RemoteEngines(
            WatchedEngine(engine, options, self._reactor, counters, log)
            for engine, options in build_remote_engines(snapshot.remote)
        )
        self._pipeline = Pipeline(
            VerdictCache(cache, b"", self._reactor),
            SingleFlight(),
            self._pool,
            counters,
            settings.timeouts.scan_s,
            settings.timeouts.scan_grace_s,
            remotes=self._remotes,
        )

    def run(self) -> None:
        """Scans until the files are at an end.

        Raises: ConfigurationError for rules that cannot be built; NoScanners; KeyboardInterrupt after Ctrl-C.
        """
        self._reactor.callWhenRunning(self._start)
        self._reactor.run(installSignalHandlers=True)
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the nursery goes when our end of its channel is closed
        self._pool.start()
        self._remotes.start()
        self._tick()
        work = Deferred.fromCoroutine(self._scan_all())
        work.addErrback(self._on_error)
        work.addBoth(lambda _: self._stop())

    def _on_signal(self, number: int, frame: object) -> None:
        self._failure = KeyboardInterrupt()
        self._reactor.callFromThread(self._stop)

    def _on_error(self, failure: Failure) -> None:
        error = failure.value.subFailure.value if isinstance(failure.value, FirstError) else failure.value
        self._failure = self._failure or error

    def _on_build_failed(self, problems: list[Problem]) -> None:
        self._failure = ConfigurationError(problems)
        self._stop()

    def _on_trouble(self, line: bytes) -> None:
        """An event of level error: the nursery died. It is started again, but not for ever."""
        self._troubles += 1
        if self._troubles == _TROUBLES_MAX:
            self._failure = NoScanners("the scanners do not start, or keep dying")
            self._stop()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._pool.stop()
            self._remotes.stop()
            self._reactor.stop()

    def _tick(self) -> None:
        self._sink.on_tick()
        self._reactor.callLater(_TICK_S, self._tick)

    def _pause(self, seconds: float = 0) -> Deferred[None]:
        """Lets the reactor do what else there is to do."""
        pause: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, pause.callback, None)
        return pause

    # Files

    async def _scan_all(self) -> None:
        while not self._pool.is_ready:
            await self._pause(_READY_CHECK_S)
        # The first error ends it all, and is told once: not again by Twisted when the others are collected.
        each = [Deferred.fromCoroutine(self._scan_some()) for _ in range(self._jobs)]
        await DeferredList(each, fireOnOneErrback=True, consumeErrors=True)

    async def _scan_some(self) -> None:
        """Takes one file after the other, while others do the same."""
        for path in self._files:
            await self._pause()
            if self._is_stopping:
                return
            try:
                scanned = await self._scan_file(path)
            except OSError as error:
                self._sink.on_unread(path, error)
                continue
            if not self._is_stopping:
                self._sink.on_scanned(scanned)

    async def _scan_file(self, path: str) -> Scanned:
        """Raises: OSError when the file cannot be read."""
        body = open_body(path, self._spool, self._memory_bytes)
        try:
            if isinstance(body, FileBody):
                await self._digest(body)
            report = await self._examine(body)
        finally:
            body.release()
        extension = os.path.splitext(path)[1][1:].lower()
        if report.size_bytes:
            report = in_context(report, "", extension)
        facts = Facts(
            method="RESPMOD",
            service=SERVICE,
            extension=extension or None,
            size_bytes=body.size_bytes,
            report=report,
            week_minute=week_minute(time.time(), self._zone),
        )
        return Scanned(path, report, self._policy.decide(facts), body.sha256())

    async def _digest(self, body: FileBody) -> None:
        since_pause = 0
        for size in body.digest_pieces():
            since_pause += size
            if since_pause >= _TURN_BYTES:
                since_pause = 0
                await self._pause()

    async def _examine(self, body: Body) -> ScanReport:
        if body.size_bytes == 0:
            return _EMPTY
        key = CacheKey(body.sha256(), body.size_bytes, self._judging.ruleset)
        found = self._pipeline.recall(key)
        return found[0] if found else (await self._pipeline.examine(key, body, self._judging, "")).report
