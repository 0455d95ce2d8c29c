"""What all connections of one front share: services, pipeline, spool, logs, counters, clocks. No socket in it.

A reload makes another one, and the old one names it as its successor. A request belongs to the gateway it began with,
until its body is whole: what judges it is what is in force then, so that an upload of an hour is not judged by the
rules of an hour ago, and keeps no old rules in memory.
"""

from __future__ import annotations

import itertools
import mmap
import os
import time
from collections.abc import Callable
from dataclasses import replace

from twisted.python.failure import Failure

from icapd.config.schema import Settings, time_zone, week_minute
from icapd.errors import SpoolError
from icapd.icap import CodecLimits, RequestHead
from icapd.net.broken import MEMORY_BYTES, BrokenTransfers
from icapd.net.link import Phase
from icapd.net.record import Claims
from icapd.net.replies import Pages
from icapd.net.services import ServiceEntry, ServiceTable
from icapd.net.shadow import Shadow
from icapd.observe.access import AccessLine, AccessLog
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.reactor import Reactor
from icapd.scan.model import ScanReport
from icapd.scan.pipeline import Pipeline
from icapd.scan.spool import Spool

_SAFETY_S = 0.25


class Gateway:
    """State: `is_draining` once the front stops; `broken`, the requests whose transfer was cut off, for a while;
    `successor` once a reload has put another in its place."""

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        services: ServiceTable,
        pages: Pages,
        pipeline: Pipeline,
        spool: Spool,
        counters: Counters,
        log: EventLog,
        access: AccessLog | None,
        clock: Callable[[], float] = time.monotonic,
        shadow: Shadow | None = None,
        shared: mmap.mmap | None = None,
    ) -> None:
        """Args: `shared` are the MEMORY_BYTES in which all fronts remember transfers that were cut off."""
        limits, times, delivery = settings.limits, settings.timeouts, settings.delivery
        self.reactor = reactor
        self.services = services
        self.pages = pages
        self.pipeline = pipeline
        self.spool = spool
        self.counters = counters
        self.log = log
        self.now = clock
        self.shadow = shadow or Shadow(counters, log, clock)
        self.codec_limits = CodecLimits(
            head_bytes=limits.head_bytes,
            http_head_bytes=limits.http_head_bytes,
            header_count=limits.header_count,
            chunk_line_bytes=limits.chunk_line_bytes,
            trailer_bytes=limits.trailer_bytes,
            discard_bytes=limits.discard_bytes,
        )
        self.pipelined_bytes = limits.pipelined_bytes
        self.http_head_bytes = limits.head_bytes
        self.http_files_max = settings.http.max_files
        self.discard_bytes = limits.discard_bytes
        self.body_total_s = times.body_total_s
        self.first_body_s = min(times.body_idle_s, times.body_total_s)
        self.phase_s = {
            Phase.IDLE: times.idle_s,
            Phase.HEAD: times.head_s,
            Phase.BODY: times.body_idle_s,
            Phase.JUDGING: times.scan_s + _SAFETY_S,  # the pool ends a scan at scan_s; this is for when it does not
            Phase.ANSWERING: times.write_idle_s,
            Phase.DISCARDING: times.drain_s,
            Phase.LINGERING: times.drain_s,
        }
        self.is_draining = False
        self.successor: Gateway | None = None
        self._zone = time_zone(settings.server.time_zone)
        self._read_wall()
        self.broken = BrokenTransfers(shared or mmap.mmap(-1, MEMORY_BYTES), delivery.broken_url_ttl_s, clock)
        self._access = access
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def new_identifier(self) -> str:
        """A transaction's name: unique over restarts and processes."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def hand_over(self, successor: Gateway) -> None:
        """Requests that begin from now on are the successor's."""
        successor.is_draining = self.is_draining
        self.successor = successor

    def newest(self) -> Gateway:
        """The gateway that is in force now."""
        gateway = self
        while gateway.successor is not None:
            gateway = gateway.successor
        return gateway

    def in_force(self, service: ServiceEntry, claims: Claims, transaction: str) -> tuple[Gateway, ServiceEntry]:
        """What judges a body of this service that is whole now, as this request meets it.

        A service that a reload took away, or that scans no more, keeps its policy, over all engines there are.
        """
        if self.successor is None:
            return self, service
        newest = self.newest()
        entry = newest.services.counterpart(service)
        if entry is None or not entry.scans:
            entry = replace(service, judging=newest.services.judging)
        return newest, newest.pages.met_by(entry, claims, transaction)

    def tick(self) -> None:
        """Several times a second: hands the access lines on, and follows the wall clock."""
        self._read_wall()
        if self._access is not None:
            self._access.flush()

    def _read_wall(self) -> None:
        """Some times a second, so that no request pays for it."""
        now = time.time()
        self.wall_offset = now - self.now()
        self.week_minute = week_minute(now, self._zone)

    def record(self, line: AccessLine, report: ScanReport | None) -> None:
        """Counts and logs a finished transaction."""
        counters = self.counters
        counters.transaction(
            (line.service, line.method, str(line.status), line.verdict, line.action, line.outcome),
            line.total_ms / 1000,
            line.body_bytes,
        )
        if report is not None and report.findings:
            for finding in report.findings:
                counters.add("icapd_findings_total", (finding.kind,))
        if self._access is not None:
            self._access.add(line)

    def spool_refused(self, transaction: str, report: ScanReport, error: SpoolError) -> None:
        """A body could not be kept."""
        self.counters.add("icapd_spool_refused_total", (report.findings[0].name,))
        self.log.event(EventName.SPOOL_REFUSED, transaction=transaction, reason=str(error))

    def transfer_broken(self, transaction: str, head: RequestHead, claims: Claims, report: ScanReport) -> None:
        """A block came too late for a page."""
        self.broken.remember(head, claims, report)
        self.counters.add("icapd_transfers_broken_total")
        self.log.event(EventName.TRANSFER_BROKEN, transaction=transaction, url=claims.http.url)

    def internal_error(self, failure: Failure) -> None:
        """An error of ours: counted, and logged with its place."""
        self.counters.add("icapd_internal_errors_total")
        self.log.event(
            EventName.INTERNAL_ERROR, error=failure.getErrorMessage(), traceback=failure.getTraceback()[-1500:]
        )
