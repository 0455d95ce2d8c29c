"""The front: holds client connections. One process, one reactor; it parses ICAP and moves bytes, no body content.

    python -m icapd.worker.front PLACE        (a JSON `Place`)

Here its parts are put together: spool, logs, protocol, and the generations that hold all that a reload changes.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import sys
import time
from typing import assert_never, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from icapd.cache.flight import SingleFlight
from icapd.config.schema import Settings
from icapd.errors import Problem
from icapd.net.gateway import Gateway
from icapd.net.http_listen import HttpClients
from icapd.net.listen import IcapFactory
from icapd.net.shadow import Shadow
from icapd.observe.access import AccessLog
from icapd.observe.lines import LineWriter
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.reactor import Reactor, install_reactor
from icapd.scan.pipeline import Examined
from icapd.scan.spool import Spool
from icapd.worker.channel import PacketChannel
from icapd.worker.descriptors import descriptor_limit, room_for_clients, shares_of
from icapd.worker.frames import (
    Abandon,
    Beat,
    Commit,
    Drain,
    Fatal,
    Metrics,
    Prepare,
    Prepared,
    ReadMetrics,
    Ready,
    Versions,
    decode_to_front,
    encode,
    encode_values,
    pack_problems,
)
from icapd.worker.generation import Surroundings
from icapd.worker.generations import Generations
from icapd.worker.memfd import make_memfd, read_memfd
from icapd.worker.plan import Place, Plan, decode_place, decode_plan

_SWEEP_S = 0.25
_DRAIN_CHECK_S = 0.05


class Front:
    """State: `_told` to the supervisor last; `_ports`, closed when draining begins."""

    def __init__(self, reactor: Reactor, place: Place, plan: Plan) -> None:
        settings = plan.read_settings()
        self._reactor = reactor
        self._place = place
        self._told = Ready(False)
        self._counters = Counters()
        self._events = LineWriter(2)
        self._log = EventLog(settings.log.level, self._events.write, f"front-{place.index}")
        self._access_writer = (
            None if place.access_fd < 0 else LineWriter(place.access_fd, on_dropping=self._on_lines_dropped)
        )
        self._control = PacketChannel(
            reactor, socket.socket(fileno=place.control_fd), self._on_packet, self._on_supervisor_lost
        )
        self._spool = Spool(settings.spool)
        self._flights: SingleFlight[Examined] = SingleFlight()
        self._access = (
            None if self._access_writer is None else AccessLog(self._access_writer.write, settings.log.format)
        )
        around = Surroundings(
            reactor,
            self._counters,
            self._log,
            self._spool,
            self._flights,
            self._access,
            place.index == 0,
            Shadow(self._counters, self._log, time.monotonic),
            _mapped(place.shared_fd),
        )
        self._generations = Generations(
            around, plan, place.snapshot_fd, place.scanners, self._on_unusable, self._on_prepared, place.versions
        )
        clients, http_clients = self._clients_by(settings)
        self._factory = IcapFactory(self._gateway, settings.server.allow_clients, clients)
        self._ports = [
            reactor.adoptStreamPort(descriptor, socket.AF_UNIX if is_unix else _family(descriptor), self._factory)
            for descriptor, is_unix in place.listen
        ]
        self._http = HttpClients(self._gateway, settings.http, http_clients, plan.http)
        self._ports += [
            reactor.adoptStreamPort(descriptor, _family(descriptor), self._http.listener(reactor, is_tls=is_tls))
            for descriptor, is_tls in place.http
        ]
        for descriptor, _ in (*place.listen, *place.http):
            os.close(descriptor)  # the port has its own copy; this one would keep a drained address open
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = cast(IReactorTime, reactor)

    @property
    def _gateway(self) -> Gateway:
        return self._generations.current.gateway

    def _clients_by(self, settings: Settings) -> tuple[int, ...]:
        """How many clients this front may have, over ICAP and over HTTP, by these settings and its descriptors."""
        http = settings.http.max_connections if settings.http.listen else 0
        wanted = tuple(-(-each // self._place.of) for each in (settings.server.max_connections, http))
        return shares_of(room_for_clients(descriptor_limit(), self._place.scanners), wanted)

    def _is_judging_before(self, gateway: Gateway) -> bool:
        return self._factory.is_judging_before(gateway) or self._http.is_judging_before(gateway)

    def start(self) -> None:
        """Begins to serve; the scanners come up meanwhile."""
        self._generations.start()
        self._sweeper.start(_SWEEP_S, now=False)

    # Towards the supervisor

    def _sweep(self) -> None:
        """What raises in here must not make it the last one: nothing would time out any more."""
        try:
            self._factory.sweep()
            self._http.sweep()
            self._gateway.tick()
            self._generations.sweep(self._is_judging_before)
            self._tell_readiness()
        except Exception:  # the border
            self._gateway.internal_error(Failure())

    def _tell_readiness(self) -> None:
        pool = self._generations.current.scanning.pool
        ready = Ready(pool.is_ready and not self._gateway.is_draining, pool.sandbox)
        if ready != self._told:
            self._control.send([encode(ready)])
            self._told = ready

    def _on_packet(self, packet: bytes, descriptors: list[int]) -> None:
        message = decode_to_front(packet)
        if isinstance(message, Prepare):
            self._prepare(message, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        match message:
            case Beat():
                self._control.send([packet])
            case ReadMetrics(number):
                self._send_metrics(number)
            case Commit(number):
                self._commit(number)
            case Abandon(number):
                self._generations.abandon(number)
            case Versions(versions):
                if self._generations.follow(versions):
                    self._follow_generation()
            case Drain(within_s):
                self._drain(within_s)
            case _:
                assert_never(message)

    def _on_supervisor_lost(self) -> None:
        """Nobody would replace or reload us: finish what runs and go."""
        self._drain(5.0)

    def _on_unusable(self, problems: list[Problem]) -> None:
        for problem in problems:
            self._log.event(EventName.BUILD_FAILED, where=problem.where, what=problem.what)
        self._control.send([encode(Fatal(pack_problems(problems)))])

    # A reload

    def _prepare(self, message: Prepare, descriptors: list[int]) -> None:
        """Whatever is wrong with it is the reload's problem, not that of the configuration in force."""
        try:
            plan_fd, snapshot_fd = descriptors  # the kernel drops those that we have no room for
            try:
                plan = decode_plan(read_memfd(plan_fd))
            finally:
                os.close(plan_fd)
            self._generations.prepare(message.number, plan, snapshot_fd, message.scanners)
        except Exception as error:  # the border
            self._on_prepared(message.number, [Problem("reload", f"{type(error).__name__}: {error}")])

    def _on_prepared(self, number: int, problems: list[Problem]) -> None:
        self._control.send([encode(Prepared(number, pack_problems(problems)))])

    def _commit(self, number: int) -> None:
        if self._generations.commit(number) is None:
            # What was prepared is lost. All others are ahead now: the next front is started with what they have.
            self._log.event(EventName.RELOAD_FAILED, reason="what was prepared is lost; this process ends")
            self._drain(0.0)
            return
        self._follow_generation()

    def _follow_generation(self) -> None:
        """Another one is in force."""
        settings = self._generations.current.settings
        self._spool.settings = settings.spool
        self._log.set_level(settings.log.level)
        if self._access is not None:
            self._access.set_format(settings.log.format)
        server, http = settings.server, settings.http
        clients, http_clients = self._clients_by(settings)
        self._factory.reload(self._gateway, server.allow_clients, clients)
        files = self._generations.current.plan.http
        self._http.follow(self._gateway, http, http_clients, files)

    def _on_lines_dropped(self, reason: str, dropped_lines: int) -> None:
        """Access lines; called in their writer's thread too."""
        if reason:
            self._log.event(EventName.LINES_DROPPED, key="log.access", reason=reason)
        else:
            self._log.event(EventName.LINES_WRITTEN_AGAIN, key="log.access", dropped=dropped_lines)

    def _send_metrics(self, number: int) -> None:
        self._set_gauges()
        try:
            descriptor = make_memfd("icapd-metrics", encode_values(self._counters.values()))
        except OSError:  # no descriptor or memory left: the supervisor goes by what it heard last
            return
        self._control.send([encode(Metrics(number))], [descriptor])
        os.close(descriptor)

    def _set_gauges(self) -> None:
        counters, spool = self._counters, self._spool
        self._generations.set_gauges(counters)
        counters.set("icapd_open_connections", self._open_connections)
        counters.set("icapd_spool_bytes", spool.memory_bytes, ("memory",))
        counters.set("icapd_spool_bytes", spool.disk_bytes, ("disk",))
        counters.set("icapd_scans_shared_total", self._flights.shared)
        dropped = 0 if self._access_writer is None else self._access_writer.dropped_lines
        counters.set("icapd_access_lines_dropped_total", dropped)

    # The end

    def _drain(self, within_s: float) -> None:
        if self._gateway.is_draining:
            return
        for port in self._ports:
            port.stopListening()
        self._reactor.callLater(within_s, self._cut_off)
        self._await_drained()

    def _await_drained(self) -> None:
        self._factory.drain()
        self._http.drain()
        if self._open_connections:
            self._reactor.callLater(_DRAIN_CHECK_S, self._await_drained)
        else:
            self._stop()

    def _cut_off(self) -> None:
        if self._open_connections:
            self._log.event(EventName.CUT_OFF, connections=self._open_connections)
            self._factory.cut_off()
            self._http.cut_off()

    @property
    def _open_connections(self) -> int:
        return len(self._factory.connections) + len(self._http.connections)

    def _stop(self) -> None:
        if not self._sweeper.running:
            return
        self._sweeper.stop()
        self._gateway.tick()
        self._send_metrics(0)
        self._generations.stop()
        if self._access_writer is not None:
            self._access_writer.close()
        self._events.close()
        self._reactor.stop()


def _mapped(descriptor: int) -> mmap.mmap:
    """The whole of a file in memory, to read and to write; its descriptor is closed."""
    mapped = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    return mapped


def _family(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        return listener.family


def _leave_signals_to_supervisor() -> None:
    """It tells us when to end; a terminal's Ctrl-C, or a service manager's SIGTERM to the group, reaches us all."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main(arguments: list[str]) -> int:
    place = decode_place(arguments[0])
    _leave_signals_to_supervisor()
    reactor = install_reactor()
    reactor.addSystemEventTrigger("after", "startup", _leave_signals_to_supervisor)  # the reactor takes some itself
    front = Front(reactor, place, decode_plan(read_memfd(place.plan_fd)))
    reactor.callWhenRunning(front.start)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    reactor.run(installSignalHandlers=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
