"""The generations of a front, and the change from one to the next.

One is in force. A reload prepares the next beside it, with a nursery and scanners of its own, and puts it in force
only when the supervisor says so. The one before ends as soon as nothing is judged by it any more.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from icapd.cache.tiers import VerdictCache
from icapd.config.schema import Settings
from icapd.errors import Problem
from icapd.net.gateway import Gateway
from icapd.observe.log import EventName
from icapd.observe.metrics import DEFINITIONS, Counters, Labels
from icapd.scan.engine_api import UrlEngine
from icapd.worker.generation import Generation, Scanning, Surroundings, parts_of, watch_remote_engines
from icapd.worker.plan import Plan
from icapd.worker.planning import is_same_store
from icapd.worker.rules import map_url_engines
from icapd.worker.shadowing import Shadowing

_STRAGGLING_S = 5.0
"""How long past the last deadline of its scans a generation may stay. Nothing should need it."""


@dataclass(slots=True)
class _Next:
    """What waits to be put in force. `is_told` once the supervisor knows that it can be."""

    number: int
    generation: Generation
    is_told: bool = False


class Generations:
    """State: `current` is in force; `_next` waits; `_ending` are those before, with the time each ends at anyway;
    `_left_alone`, remote engines that were ever told of: one that is switched off must not stay so."""

    def __init__(
        self,
        around: Surroundings,
        plan: Plan,
        snapshot_fd: int,
        scanners: int,
        on_unusable: Callable[[list[Problem]], None],
        on_prepared: Callable[[int, list[Problem]], None],
        versions: Mapping[str, str],
    ) -> None:
        self._versions = versions
        self._left_alone: dict[str, bool] = {}
        self._around = around
        self._shadowing = Shadowing(around.reactor, around.shadow, around.log)
        self._on_unusable = on_unusable
        self._on_prepared = on_prepared
        self._next: _Next | None = None
        self._ending: list[tuple[Generation, float]] = []
        self._cached_before: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        settings = plan.read_settings()
        scanning = Scanning(around, plan, settings, snapshot_fd, scanners, self._on_build_failed)
        remotes, url_engines = watch_remote_engines(around, plan), map_url_engines(snapshot_fd)
        self.current = Generation(
            around, plan, settings, scanning, remotes, url_engines, self._new_cache(plan, settings), versions
        )

    def start(self) -> None:
        self.current.remotes.start()
        self.current.cache.start(self.current.gateway.services.rulesets)
        self.current.scanning.pool.start()
        self._shadowing.follow(self.current.plan, self.current.settings)

    def stop(self) -> None:
        self._shadowing.stop()
        if self._next is not None:
            self.abandon(self._next.number)
        while self._ending:
            self._end(self._ending.pop()[0])
        self.current.scanning.stop()
        self.current.remotes.stop()
        self.current.cache.stop()

    def _new_cache(self, plan: Plan, settings: Settings) -> VerdictCache:
        return VerdictCache(
            settings.cache,
            plan.secret,
            self._around.reactor,
            on_state=self._on_memcached_state,
            on_disk_state=self._on_disk_state,
        )

    def _on_memcached_state(self, server: str, in_use: bool) -> None:
        state = "in use" if in_use else "left alone"
        self._around.log.event(EventName.MEMCACHED_STATE, server=server, state=state)

    def _on_disk_state(self, state: str, detail: str) -> None:
        self._around.log.event(EventName.CACHE_DISK_STATE, key="cache.disk", state=state, detail=detail)

    # A reload

    def prepare(self, number: int, plan: Plan, snapshot_fd: int, scanners: int) -> None:
        """Makes the next generation, aside. What is the same stays: scanners if the rules are, the cache if its keys
        are. Owns `snapshot_fd`. `on_prepared` is called when it can be put in force, or cannot be."""
        if self._next is not None:
            self.abandon(self._next.number)
        now, settings = self.current, plan.read_settings()
        scanning, url_engines = now.scanning, map_url_engines(snapshot_fd)
        if scanning.made_of == parts_of(plan, settings, scanners):
            os.close(snapshot_fd)
        else:
            scanning = Scanning(self._around, plan, settings, snapshot_fd, scanners, self._on_build_failed)
            scanning.pool.start()
        try:
            self._next = _Next(number, self._assemble(plan, settings, scanning, url_engines))
        except Exception:
            if scanning is not now.scanning:
                scanning.stop()
            raise
        self.sweep()

    def _assemble(
        self, plan: Plan, settings: Settings, scanning: Scanning, url_engines: tuple[UrlEngine, ...]
    ) -> Generation:
        """What a plan makes over these scanners, with what stays of what is in force."""
        now = self.current
        is_same_cache = is_same_store(settings.cache, now.settings.cache) and plan.secret == now.plan.secret
        cache = now.cache if is_same_cache else self._new_cache(plan, settings)
        remotes = now.remotes
        if plan.remote != now.plan.remote:
            remotes = watch_remote_engines(self._around, plan)
            remotes.start()
        return Generation(self._around, plan, settings, scanning, remotes, url_engines, cache, self._versions)

    def commit(self, number: int) -> Generation | None:
        """Puts the next generation in force. Returns: the one before; None when nothing waits under this number."""
        waiting, before = self._next, self.current
        if waiting is None or waiting.number != number:
            return None
        self._next = None
        self._put_in_force(self._up_to_date(waiting.generation))
        return before

    def follow(self, versions: Mapping[str, str]) -> bool:
        """Takes new versions of remote engines. Returns: whether another generation is in force by that."""
        self._versions = versions
        newer = self._up_to_date(self.current)
        if newer is self.current:
            return False
        self._put_in_force(newer)
        return True

    def _up_to_date(self, generation: Generation) -> Generation:
        """A generation like this one, by the versions that are known now."""
        if generation.versions == generation.plan.versions(self._versions):
            return generation
        return Generation(
            self._around,
            generation.plan,
            generation.settings,
            generation.scanning,
            generation.remotes,
            generation.url_engines,
            generation.cache,
            self._versions,
        )

    def _put_in_force(self, generation: Generation) -> None:
        before, self.current = self.current, generation
        rulesets = generation.gateway.services.rulesets
        if self.current.cache is before.cache:
            before.cache.follow(self.current.settings.cache, rulesets)
        else:
            self.current.cache.start(rulesets)
        self._shadowing.follow(generation.plan, generation.settings)
        ends_at = self._around.reactor.seconds() + before.settings.timeouts.scan_s + _STRAGGLING_S
        self._ending.append((before, ends_at))

    def abandon(self, number: int) -> None:
        """Drops what waits under this number."""
        waiting = self._next
        if waiting is not None and waiting.number == number:
            self._next = None
            self._stop_unless_used(waiting.generation)

    def sweep(self, is_judging_before: Callable[[Gateway], bool] = lambda gateway: True) -> None:
        """Says what is prepared, and ends what is not used any more. Called several times a second."""
        waiting = self._next
        if waiting is not None and not waiting.is_told and waiting.generation.scanning.pool.is_ready:
            waiting.is_told = True
            self._on_prepared(waiting.number, [])
        if not self._ending:
            return
        now = self._around.reactor.seconds()
        is_judging = is_judging_before(self.current.gateway)
        for ending in list(self._ending):
            generation, ends_at = ending
            pool = generation.scanning.pool
            if ends_at <= now or not (is_judging or pool.queued or pool.running):
                self._ending.remove(ending)
                self._end(generation)

    def _end(self, generation: Generation) -> None:
        if generation.cache is not self.current.cache and all(
            generation.cache is not other.cache for other, _ in self._ending
        ):
            generation.cache.stop()
            self._add_counts(self._cached_before, generation.cache)
        self._stop_unless_used(generation)

    def _stop_unless_used(self, generation: Generation) -> None:
        used = [self.current, *(other for other, _ in self._ending)]
        if self._next is not None:
            used.append(self._next.generation)
        if all(generation.scanning is not other.scanning for other in used):
            generation.scanning.stop()
        if all(generation.remotes is not other.remotes for other in used):
            generation.remotes.stop()

    def _on_build_failed(self, scanning: Scanning, problems: list[Problem]) -> None:
        """Of what is in force: what was replaced on disk since. Of what waits: it cannot be used."""
        if scanning is self.current.scanning:
            self._on_unusable(problems)
            return
        waiting = self._next
        if waiting is not None and scanning is waiting.generation.scanning:
            self.abandon(waiting.number)
            self._on_prepared(waiting.number, problems)

    # Metrics

    def set_gauges(self, counters: Counters) -> None:
        """The numbers of scanners and caches; those of generations that end are added to those of the current one."""
        generations = [self.current, *(generation for generation, _ in self._ending)]
        pools = {id(each.scanning): each.scanning.pool for each in generations}.values()
        running = sum(pool.running for pool in pools)
        counters.set("icapd_scanners", running, ("busy",))
        counters.set("icapd_scanners", sum(pool.alive for pool in pools) - running, ("idle",))
        counters.set("icapd_scan_queue", sum(pool.queued for pool in pools))
        for size, limit in self.current.scanning.pool.limits:
            counters.set("icapd_scan_queue_limit", limit, (size,))
        self._left_alone = dict.fromkeys(self._left_alone, False) | self.current.remotes.left_alone()
        for name, is_left_alone in self._left_alone.items():
            counters.set("icapd_remote_engine_left_alone", float(is_left_alone), (name,))
        counters.set("icapd_cache_servers_left_alone", self.current.cache.servers_left_alone)
        totals = self._cached_before.copy()
        for cache in {id(each.cache): each.cache for each in generations[1:]}.values():
            if cache is not self.current.cache:
                self._add_counts(totals, cache)
        for name, labels, value in self.current.cache.counters.samples(with_shared=self._around.counts_shared):
            counters.set(name, value + totals[name, labels], labels)

    def _add_counts(self, totals: defaultdict[tuple[str, Labels], float], cache: VerdictCache) -> None:
        for name, labels, value in cache.counters.samples(with_shared=self._around.counts_shared):
            if DEFINITIONS[name].kind == "counter":
                totals[name, labels] += value
