"""The supervisor: keeps the fronts, reloads, answers operators, and ends it all. It sees no byte of a client."""

from __future__ import annotations

import itertools
import socket
from typing import Any, assert_never, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from icapd import __version__
from icapd.errors import Problem
from icapd.net.admin import admin_site
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Values, add_up
from icapd.reactor import Reactor
from icapd.worker.comparing import shadow_report
from icapd.worker.control import ControlSocket
from icapd.worker.fleet import Fleet, FrontProcess
from icapd.worker.frames import (
    Beat,
    Drain,
    Fatal,
    FromFront,
    Metrics,
    Prepared,
    ReadMetrics,
    Ready,
    ReloadEnded,
    ShadowReport,
    decode_values,
    unpack_problems,
)
from icapd.worker.listening import Listeners
from icapd.worker.memfd import read_memfd
from icapd.worker.notify import ServiceManager
from icapd.worker.plan import Origin
from icapd.worker.reloading import Reloads
from icapd.worker.sandbox.report import sandbox_lines, sandbox_samples
from icapd.worker.versions import VersionWatch
from icapd.worker.watch import RuleWatch

_SCRAPE_S = 0.5
_KILL_AFTER_S = 2.0


class Supervisor:
    """State: `_is_stopping` once SIGTERM has come; `_has_served` once a front was ready; `exit_code` is what the
    process should end with."""

    def __init__(
        self,
        reactor: Reactor,
        fleet: Fleet,
        listeners: Listeners,
        origin: Origin,
        service_manager: ServiceManager,
        log: EventLog,
    ) -> None:
        self._reactor = reactor
        self._fleet = fleet
        self._listeners = listeners
        self._service_manager = service_manager
        self._log = log
        self._is_stopping = False
        self._was_ready = False
        self._has_served = False
        self._numbers = itertools.count(1)
        self._scrapes: dict[int, _Scrape] = {}
        self._scraping: list[Deferred[Values]] = []
        self._admin_port: Any = None
        self._control: ControlSocket | None = None
        self._reloads = Reloads(reactor, fleet, origin, log, self._on_reload_begun, self._on_reload_ended)
        self._watch = RuleWatch(reactor, self.reload, log)
        self._watchdog = LoopingCall(self._tell_alive)
        self._watchdog.clock = cast(IReactorTime, reactor)
        self._versions = VersionWatch(reactor, log, fleet.tell_versions)
        fleet.listen(self._take, self._note_readiness, self._reloads.on_front_started, self._on_front_lost)
        self.exit_code = 0
        self.problems: list[Problem] = []

    def start(self, control: socket.socket | None) -> None:
        """Starts all fronts and the admin endpoints."""
        admin = self._listeners.admin
        site = admin_site(self._readiness, self._collect)
        self._admin_port = self._reactor.adoptStreamPort(admin.fileno(), admin.family, site)
        admin.close()
        if control is not None:
            self._control = ControlSocket(self._reactor, control, self.reload, self._report_shadow)
        # Fronts that start afterwards begin with the ISTag that they will keep.
        self._versions.follow(self._fleet.edition.plan.remote).addCallback(lambda _: self._fleet.start())
        self._tell_status()
        self._watch_rules()
        if self._service_manager.watchdog_s:
            self._watchdog.start(self._service_manager.watchdog_s / 2)

    def reload(self) -> Deferred[ReloadEnded]:
        """Reads everything anew, and changes to it if it is sound. Returns: how that ends; never fails."""
        return self._reloads.ask()

    def _on_reload_begun(self) -> None:
        self._service_manager.reload_begins()

    def _on_reload_ended(self, ended: ReloadEnded) -> None:
        if self._is_stopping:
            return
        if ended.result == "reloaded":
            self._log.set_level(self._fleet.edition.settings.log.level)
            self._versions.follow(self._fleet.edition.plan.remote)
        self._watch_rules()
        self._service_manager.reload_ends()
        self._tell_status()

    def _watch_rules(self) -> None:
        """What is in force was read from, and what a reload that failed since was to be."""
        edition = self._fleet.edition
        self._watch.watch({*edition.watched, *self._reloads.wanted} if edition.settings.server.watch_rules else ())

    def _tell_alive(self) -> None:
        """To the service manager's watchdog: a supervisor without fronts that answer is of no use."""
        if self._fleet.is_answering:
            self._service_manager.alive()

    # Fronts

    def _take(self, front: FrontProcess, message: FromFront, descriptors: list[int]) -> None:
        match message:
            case Ready(is_ready, sandbox):
                front.is_ready = is_ready
                front.sandbox = sandbox
                self._has_served |= is_ready
                self._note_readiness()
            case Metrics(number):
                if descriptors:  # the kernel drops what we have no room for
                    front.values = decode_values(read_memfd(descriptors[0]))
                scrape = self._scrapes.get(number)
                if scrape is not None:
                    scrape.heard(front.index)
            case Fatal(problems):
                # Once we serve, what was replaced on disk costs what it must: that front says so, and tries again.
                if not self._has_served:
                    self.problems = unpack_problems(problems)
                    self.exit_code = 2
                    self.stop()
            case Prepared():
                self._reloads.on_prepared(front, message)
            case Beat():
                pass  # the fleet's own
            case _:
                assert_never(message)

    def _on_front_lost(self, front: FrontProcess) -> None:
        self._reloads.on_front_lost(front)
        if self._is_stopping:
            self._finish_when_alone()

    # Operators

    def _readiness(self) -> tuple[int, str]:
        if self._is_stopping:
            return 503, "draining"
        waiting = [front.index for front in self._fleet.fronts if not front.is_ready]
        if waiting:
            return 503, f"loading rules: fronts {waiting}"
        return 200, "\n".join(["ready", *sandbox_lines([front.sandbox for front in self._fleet.fronts])])

    def _note_readiness(self) -> None:
        is_ready = self._readiness()[0] == 200
        if is_ready and not self._was_ready:
            self._log.event(EventName.READY, fronts=len(self._fleet.fronts))
        if is_ready is not self._was_ready:
            self._was_ready = is_ready
            self._tell_status()

    def _tell_status(self) -> None:
        """To the service manager, with what became of the last reload."""
        status, text = self._readiness()
        text = text.partition("\n")[0]
        ended = self._reloads.last
        if ended is not None:
            where, what = ended.problems[0] if ended.problems else ("", "")
            text += f"; reload {ended.result}" + (f": {where}: {what}" if what else "")
        self._service_manager.readiness(status == 200, f"{text}; ISTag {self._fleet.edition.plan.istag}")

    def _collect(self) -> Deferred[Values]:
        """The sums over all fronts; a front that does not answer in time counts with what it said last.

        Who asks while others wait gets what they get: fronts are asked once, however many scrape.
        """
        waiter: Deferred[Values] = Deferred()
        self._scraping.append(waiter)
        if len(self._scraping) == 1:
            self._scrape()
        return waiter

    def _scrape(self) -> None:
        number = next(self._numbers)
        asked = {front.index for front in self._fleet.fronts if front.tell(ReadMetrics(number))}
        scrape = self._scrapes[number] = _Scrape(asked)
        timer = self._reactor.callLater(_SCRAPE_S, scrape.end)

        def summed(_: None) -> None:
            del self._scrapes[number]
            if timer.active():
                timer.cancel()
            values = add_up([self._own_values(), *self._fleet.values()])
            waiters, self._scraping = self._scraping, []
            for waiter in waiters:
                waiter.callback(values)

        scrape.done.addCallback(summed)
        if not asked:
            scrape.end()

    def _report_shadow(self) -> Deferred[ShadowReport]:
        return self._collect().addCallback(shadow_report, self._fleet.edition)

    def _own_values(self) -> Values:
        fleet, reloads = self._fleet, self._reloads
        return {
            "icapd_fronts": [((), float(sum(front.child is not None for front in fleet.fronts)))],
            "icapd_front_deaths_total": [((), float(fleet.deaths))],
            "icapd_ready": [((), float(self._was_ready))],
            "icapd_build_info": [((__version__, fleet.edition.plan.ruleset, fleet.istag), 1.0)],
            "icapd_remote_engine_up": self._versions.gauges(),
            "icapd_reloads_total": [((result,), float(count)) for result, count in reloads.counts.items()],
            "icapd_last_reload_successful": [((), float(not reloads.has_failed))],
            "icapd_last_reload_success_timestamp_seconds": [((), reloads.succeeded_at)],
            "icapd_sandbox": sandbox_samples([front.sandbox for front in fleet.fronts]),
        }

    # The end

    def stop(self) -> None:
        """Closes the listeners first, then lets the fronts finish what runs, within `timeouts.shutdown_s`."""
        if self._is_stopping:
            return
        self._is_stopping = self._fleet.is_stopping = True
        self._service_manager.stopping()
        self._watch.stop()
        self._reloads.stop()
        self._versions.stop()
        self._note_readiness()
        within_s = self._fleet.edition.settings.timeouts.shutdown_s
        self._log.event(EventName.DRAINING, within_s=within_s)
        self._listeners.close()
        self._fleet.tell_all(Drain(within_s))
        self._reactor.callLater(within_s + _KILL_AFTER_S, self._kill)
        self._finish_when_alone()

    def _kill(self) -> None:
        for front in self._fleet.fronts:
            front.kill()

    def _finish_when_alone(self) -> None:
        if self._fleet.is_gone:
            if self._watchdog.running:
                self._watchdog.stop()
            self._log.event(EventName.STOPPED, exit_code=self.exit_code)
            self._reactor.stop()


class _Scrape:
    """One collection of metrics under way."""

    def __init__(self, asked: set[int]) -> None:
        self._asked = asked
        self.done: Deferred[Any] = Deferred()

    def heard(self, index: int) -> None:
        self._asked.discard(index)
        if not self._asked:
            self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)
