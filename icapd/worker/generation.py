"""One configuration at work in a front: its services, its policy, and scanners with its rules."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from icapd.cache.flight import SingleFlight
from icapd.cache.tiers import VerdictCache
from icapd.config.policies import compile_policies
from icapd.config.schema import Settings
from icapd.errors import Problem
from icapd.net.gateway import Gateway
from icapd.net.override import Overrides
from icapd.net.replies import Pages
from icapd.net.services import ServiceTable
from icapd.net.shadow import Shadow
from icapd.observe.access import AccessLog
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.plugins import build_remote_engines
from icapd.policy.page import BlockPage
from icapd.reactor import Reactor
from icapd.scan.engine_api import UrlEngine
from icapd.scan.pipeline import Examined, Pipeline
from icapd.scan.remote import RemoteEngines, WatchedEngine
from icapd.scan.spool import Spool
from icapd.worker.nursing import NurseryProcess
from icapd.worker.plan import Plan
from icapd.worker.pool import ScannerPool
from icapd.worker.sandbox import Confinement


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all generations of a front share."""

    reactor: Reactor
    counters: Counters
    log: EventLog
    spool: Spool
    flights: SingleFlight[Examined]
    access: AccessLog | None
    counts_shared: bool
    """Whether this is the front that tells of what all fronts share."""
    shadow: Shadow
    shared: mmap.mmap
    """Memory of all fronts, for transfers that were cut off."""


def parts_of(plan: Plan, settings: Settings, count: int) -> tuple[object, ...]:
    """What scanners are made of: where this is the same, they stay."""
    return plan.ruleset, settings.scanners, settings.spool.directory, count


class Scanning:
    """Scanners with one set of rules. Owns the snapshot's descriptor, which the next nursery reads again."""

    def __init__(
        self,
        around: Surroundings,
        plan: Plan,
        settings: Settings,
        snapshot_fd: int,
        count: int,
        on_build_failed: Callable[[Scanning, list[Problem]], None],
    ) -> None:
        self._snapshot_fd = snapshot_fd
        self.made_of = parts_of(plan, settings, count)
        nursery = NurseryProcess(
            around.reactor,
            snapshot_fd,
            Confinement.of(settings.scanners, settings.spool.directory),
            around.log,
            lambda problems: on_build_failed(self, problems),
        )
        self.pool = ScannerPool(around.reactor, settings.scanners, count, nursery, around.counters, around.log)

    def stop(self) -> None:
        self.pool.stop()
        os.close(self._snapshot_fd)


def watch_remote_engines(around: Surroundings, plan: Plan) -> RemoteEngines:
    """The remote engines of a plan, connected to nothing yet."""
    return RemoteEngines(
        WatchedEngine(engine, options, around.reactor, around.counters, around.log)
        for engine, options in build_remote_engines(plan.remote)
    )


class Generation:
    """Services, policy, cache, scanners, lists of URLs and remote engines of one plan, as of some versions of the
    latter."""

    def __init__(
        self,
        around: Surroundings,
        plan: Plan,
        settings: Settings,
        scanning: Scanning,
        remotes: RemoteEngines,
        url_engines: Sequence[UrlEngine],
        cache: VerdictCache,
        versions: Mapping[str, str],
    ) -> None:
        times = settings.timeouts
        self.plan = plan
        self.settings = settings
        self.scanning = scanning
        self.remotes = remotes
        self.url_engines = url_engines
        self.cache = cache
        self.versions = plan.versions(versions)
        services = ServiceTable(
            settings,
            compile_policies(settings),
            plan.ruleset,
            plan.required,
            plan.istag_with(versions).encode("ascii"),
            self.versions,
            url_engines,
        )
        pages = Pages(
            {
                name or None: BlockPage(source, name or "pages.block", plan.languages, settings.pages.language)
                for name, source in plan.pages.items()
            },
            settings.pages.contact,
            settings.pages.help_url,
            Overrides(plan.override_key, settings.pages.override_ttl_s, around.counters, around.log)
            if plan.override_key
            else None,
        )
        pipeline = Pipeline(
            cache,
            around.flights,
            scanning.pool,
            around.counters,
            times.scan_s,
            times.scan_grace_s,
            remotes=remotes,
        )
        self.gateway = Gateway(
            around.reactor,
            settings,
            services,
            pages,
            pipeline,
            around.spool,
            around.counters,
            around.log,
            around.access,
            shadow=around.shadow,
            shared=around.shared,
        )
