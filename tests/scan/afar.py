"""A remote engine and scanners whose answers a test gives, at a time that the test makes pass."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from icapd.cache.flight import SingleFlight
from icapd.cache.memcached import Reactor as CacheReactor
from icapd.cache.tiers import VerdictCache
from icapd.config.schema import Cache, SpoolTable
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.reactor import Reactor
from icapd.scan.engine_api import RemoteBody, RemoteOptions
from icapd.scan.model import CacheKey, EngineReport, Finding, FindingKind, Outcome, ScanReport, Verdict
from icapd.scan.pipeline import Examined, Judging, Pipeline
from icapd.scan.remote import RemoteEngines, WatchedEngine
from icapd.scan.spool import Spool
from icapd.scan.tree import Examination
from tests.support.scans import HeldScans

NAME = "afar"
CONTENT = b"content"
KEY = CacheKey(hashlib.sha256(CONTENT).digest(), len(CONTENT), "ruleset")
NOTHING = EngineReport(NAME, Outcome.NOTHING_FOUND)
FOUND = EngineReport(NAME, Outcome.FOUND, (Finding(FindingKind.MALWARE, "Evil", NAME),))
OPTIONS = RemoteOptions(timeout_s=10, failures_before_rest=3, retry_s=5, connect_timeout_s=1)
TRIALS = OPTIONS.failures_before_rest


class Afar:
    """A remote engine whose answers a test gives: every scan and probe waits for it."""

    name = NAME

    def __init__(self) -> None:
        self.scans: list[Deferred[EngineReport]] = []
        self.probes: list[Deferred[str]] = []
        self.cancelled = 0
        self.is_started = False

    def start(self, reactor: Any) -> None:
        self.is_started = True

    def stop(self) -> None:
        self.is_started = False

    async def probe(self) -> str:
        self.probes.append(Deferred())
        return await self.probes[-1]

    async def scan(self, body: RemoteBody, deadline: float) -> EngineReport:
        assert body.read(0, 100) == CONTENT
        self.scans.append(Deferred())
        try:
            return await self.scans[-1]
        except CancelledError:
            self.cancelled += 1
            raise


class Scene:
    """A pipeline with scanners and one remote engine, at a time that the test makes pass."""

    def __init__(self, *, required: bool = True) -> None:
        self.clock = Clock()
        self.afar, self.near = Afar(), HeldScans()
        self.counters = Counters()
        self.lines: list[bytes] = []
        reactor = cast(Reactor, self.clock)
        log = EventLog("debug", self.lines.append, "test")
        self.watched = WatchedEngine(self.afar, OPTIONS, reactor, self.counters, log, self.clock.seconds)
        self.remotes = RemoteEngines([self.watched])
        self.remotes.start()
        self.spool = Spool(SpoolTable())
        cache = VerdictCache(Cache(), b"", cast(CacheReactor, self.clock))
        self.pipeline = Pipeline(
            cache, SingleFlight(), self.near, self.counters, 25.0, 0.5, self.clock.seconds, self.remotes
        )
        self.judging = Judging("ruleset", None, frozenset({NAME} if required else ()), (NAME,))

    def examine(self) -> Deferred[Examined]:
        body = self.spool.open(100)
        body.append(CONTENT)
        examining = self.pipeline.examine(KEY, body, self.judging, "client")
        body.release()
        return examining

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.125] * round(seconds * 8))  # steps that add up exactly


def local(*reports: EngineReport) -> Examination:
    return Examination(reports=reports, size_bytes=len(CONTENT))


def report_of(examining: Deferred[Examined]) -> ScanReport:
    (examined,) = results(examining)
    return cast(Examined, examined).report


def results(examining: Deferred[Examined]) -> list[object]:
    """What it came to; empty while it waits."""
    got: list[object] = []
    examining.addBoth(got.append)
    return got


def said(report: ScanReport) -> tuple[Verdict, Outcome, str]:
    (afar,) = [each for each in report.reports if each.engine == NAME]
    return report.verdict, afar.outcome, afar.reason
