"""From a finished body to the facts about it: remembered ones, shared ones, or a scan.

The order is: memory and disk (at once), then memcached, then the scan that an identical body has already started,
then a scan of its own, in a scanner and, side by side, by the remote engines. What a transaction does with the facts
is policy's business; nothing here knows a client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icapd.errors import LethalBody, Overloaded, ScanError, ScanTimedOut
from icapd.observe.metrics import Counters
from icapd.scan.merge import is_settled, merge, with_findings
from icapd.scan.mismatch import type_mismatch
from icapd.scan.model import SERVER, CacheKey, EngineReport, Finding, FindingKind, ScanReport, Severity, Verdict
from icapd.scan.remote import RemoteEngines, RemoteScan
from icapd.scan.spool import Body
from icapd.scan.tree import Examination


class Source:
    """Where a report came from, as the access line names it."""

    MEMORY = "memory"
    DISK = "disk"
    MEMCACHED = "memcached"
    SHARED = "shared"
    SCAN = "miss"
    NONE = "none"


class Examined(NamedTuple):
    """Facts and where they came from."""

    report: ScanReport
    source: str


class Scans(Protocol):
    """What runs scans: the scanner pool.

    `client` is whom it is for, as waiting is shared out among clients; `deadline` is what engines are told, `kill_at`
    when the scanner is killed; readings of CLOCK_MONOTONIC.
    """

    def submit(
        self,
        key: CacheKey,
        engines: tuple[str, ...] | None,
        body: Body,
        client: str,
        deadline: float,
        kill_at: float,
    ) -> Deferred[Examination]: ...


class Memory(Protocol):
    """What remembers reports: the verdict cache."""

    @property
    def is_shared(self) -> bool: ...

    def recall(self, key: CacheKey) -> tuple[ScanReport, str] | None: ...

    async def fetch(self, key: CacheKey) -> ScanReport | None: ...

    def remember(self, key: CacheKey, report: ScanReport) -> None: ...


class Flights(Protocol):
    """What lets identical bodies share one scan."""

    def is_under_way(self, key: CacheKey) -> bool: ...

    def share(self, key: CacheKey, start: Callable[[], Deferred[Examined]]) -> Deferred[Examined]: ...


class Judging(NamedTuple):
    """How one service has bodies judged. `ruleset` also stands for the choice of engines; `remote`, those of them
    that are asked beside the scanners."""

    ruleset: str
    engines: tuple[str, ...] | None
    required: frozenset[str]
    remote: tuple[str, ...] = ()


class Pipeline:
    """The stages between a spooled body and its report."""

    def __init__(
        self,
        cache: Memory,
        flights: Flights,
        scans: Scans,
        counters: Counters,
        scan_s: float,
        scan_grace_s: float,
        clock: Callable[[], float] = time.monotonic,
        remotes: RemoteEngines | None = None,
    ) -> None:
        self._remotes = remotes or RemoteEngines(())
        self._cache = cache
        self._flights = flights
        self._scans = scans
        self._counters = counters
        self._scan_s = scan_s
        self._scan_grace_s = min(scan_grace_s, scan_s / 2)
        self._clock = clock

    def recall(self, key: CacheKey) -> tuple[ScanReport, str] | None:
        """The report that memory or disk has, and its source; costs no wait."""
        return self._cache.recall(key)

    def examine(self, key: CacheKey, body: Body, judging: Judging, client: str) -> Deferred[Examined]:
        """The report on a body that memory did not know. Never fails with a ScanError: that is a report, too.

        The body stays the caller's; a scan that outlives the caller keeps its own reference. On the way of every
        unknown body, so it is made of callbacks: coroutines cost four times as much.
        """
        if self._cache.is_shared:
            return Deferred.fromCoroutine(self._fetch_or_share(key, body, judging, client))
        return self._share(key, body, judging, client)

    async def _fetch_or_share(self, key: CacheKey, body: Body, judging: Judging, client: str) -> Examined:
        report = await self._cache.fetch(key)
        if report is not None:
            return Examined(report, Source.MEMCACHED)
        return await self._share(key, body, judging, client)

    def _share(self, key: CacheKey, body: Body, judging: Judging, client: str) -> Deferred[Examined]:
        kill_at = self._clock() + self._scan_s
        is_shared = self._flights.is_under_way(key)
        sharing = self._flights.share(key, lambda: self._scan(key, body, judging, client, kill_at))
        if is_shared:
            return sharing.addCallback(self._take_shared, key, body, judging, client, kill_at)
        return sharing

    def _take_shared(
        self, examined: Examined, key: CacheKey, body: Body, judging: Judging, client: str, kill_at: float
    ) -> Examined | Deferred[Examined]:
        if _is_late(examined.report) and self._clock() < kill_at - self._scan_grace_s:
            # Its deadline was that of who came first; ours is later.
            return self._scan(key, body, judging, client, kill_at)
        return Examined(examined.report, Source.SHARED)

    def _scan(self, key: CacheKey, body: Body, judging: Judging, client: str, kill_at: float) -> Deferred[Examined]:
        if judging.remote:
            return self._scan_beside(key, body, judging, client, kill_at)
        started = self._clock()
        scanning = self._scans.submit(key, judging.engines, body, client, kill_at - self._scan_grace_s, kill_at)
        return scanning.addCallbacks(
            self._take_examination,
            self._take_failure,
            callbackArgs=(key, judging.required, started),
            errbackArgs=(key, started),
        )

    def _scan_beside(
        self, key: CacheKey, body: Body, judging: Judging, client: str, kill_at: float
    ) -> Deferred[Examined]:
        """Asks scanners and remote engines side by side."""
        deadline = kill_at - self._scan_grace_s
        beside = self._remotes.begin(judging.remote, key, body, deadline)
        scanning = self._scans.submit(key, judging.engines, body, client, deadline, kill_at)
        joining = Deferred.fromCoroutine(self._join(key, judging, scanning, beside))

        def give_up(_: Deferred[Examined]) -> None:
            beside.end()  # first: a scan that ends by this is no reason to wait for the others
            joining.cancel()

        def conclude(outcome: Examined | Failure) -> None:
            if not joined.called:
                joined.callback(outcome)

        joined: Deferred[Examined] = Deferred(give_up)
        joining.addBoth(conclude)
        return joined

    async def _join(
        self, key: CacheKey, judging: Judging, scanning: Deferred[Examination], beside: RemoteScan
    ) -> Examined:
        """Raises: what is no ScanError."""
        started = self._clock()
        try:
            examination = await scanning
            # A remote engine's word alone settles nothing: the body may be on the operator's list.
            settled = is_settled(examination)
            if not settled:
                await beside.ended()
            reports = beside.reports(is_settled=settled)
            return self._take_examination(examination, key, judging.required, started, reports)
        except ScanError as error:
            await beside.ended()
            needed = judging.required.intersection(judging.remote)
            heard = merge(Examination(size_bytes=key.size_bytes), needed, beside.reports())
            return self._scanned(with_findings(heard, failure_report(error, key.size_bytes).findings), started)
        finally:
            beside.end()

    def _take_examination(
        self,
        examination: Examination,
        key: CacheKey,
        required: frozenset[str],
        started: float,
        remote: Sequence[EngineReport] = (),
    ) -> Examined:
        report = merge(examination, required, remote)
        self._cache.remember(key, report)
        return self._scanned(report, started)

    def _take_failure(self, failure: Failure, key: CacheKey, started: float) -> Examined:
        """Raises: what is no ScanError."""
        failure.trap(ScanError)
        return self._scanned(failure_report(cast(ScanError, failure.value), key.size_bytes), started)

    def _scanned(self, report: ScanReport, started: float) -> Examined:
        self._counters.observe("icapd_scan_seconds", (report.verdict,), self._clock() - started)
        return Examined(report, Source.SCAN)


_FAILURES: dict[type[ScanError], tuple[Verdict, FindingKind, str]] = {
    Overloaded: (Verdict.ERROR, FindingKind.OVERLOAD, "scan-queue-full"),
    ScanTimedOut: (Verdict.ERROR, FindingKind.TIMEOUT, "scan-timed-out"),
    LethalBody: (Verdict.UNSCANNABLE, FindingKind.LIMIT, "scanners-lost"),
}
_LOST = (Verdict.ERROR, FindingKind.FAILED, "scanner-lost")


def _is_late(report: ScanReport) -> bool:
    return report.verdict is Verdict.ERROR and any(f.kind is FindingKind.TIMEOUT for f in report.findings)


def failure_report(error: ScanError, size_bytes: int) -> ScanReport:
    """A scan that ended without a report, as a report that policy can name."""
    verdict, kind, name = _FAILURES.get(type(error), _LOST)
    return refusal(verdict, kind, name, size_bytes)


def refusal(verdict: Verdict, kind: FindingKind, name: str, size_bytes: int) -> ScanReport:
    """The report on a body that no engine saw."""
    finding = Finding(kind, name, SERVER, Severity.MEDIUM)
    return ScanReport(verdict, (finding,), size_bytes=size_bytes)


def in_context(
    report: ScanReport, declared: str | tuple[str, ...], extension: str, note: Finding | None = None
) -> ScanReport:
    """The report as seen under a name: adds a finding when the content is not what it was declared to be, and `note`.

    Made anew for each transaction and never remembered, as the same content may come under another name.
    """
    mismatch = type_mismatch(declared, extension, report.identity)
    added = [finding for finding in (mismatch, note) if finding is not None]
    return with_findings(report, added) if added else report
