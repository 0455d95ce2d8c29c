"""`icapd serve`, put together: configuration, rules, sockets, then the supervisor.

Everything that can be wrong is found before the first socket listens: the configuration, the rules (built and tried
once in a child, so that their memory is given back), the addresses.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
from pathlib import Path

from icapd import __version__
from icapd.cache.secret import prepare_disk
from icapd.config.load import Loaded
from icapd.errors import ConfigurationError, Problem
from icapd.observe.lines import LineWriter
from icapd.observe.log import EventLog, EventName
from icapd.plugins import RulesetSnapshot, build_engines, compile_engines, gather_snapshot
from icapd.reactor import Reactor, install_reactor
from icapd.worker.activation import take_inherited
from icapd.worker.control import control_name, open_control
from icapd.worker.descriptors import descriptor_limit, raise_descriptor_limit, warn_of_few_descriptors
from icapd.worker.fleet import Fleet
from icapd.worker.frames import Checked, Trial, decode_checked, encode, pack_problems, unpack_problems
from icapd.worker.listening import open_listeners
from icapd.worker.memfd import make_memfd
from icapd.worker.notify import ServiceManager
from icapd.worker.plan import Edition, Origin, encode_plan
from icapd.worker.planning import make_plan, process_counts
from icapd.worker.rules import blank_rules, write_rules
from icapd.worker.sandbox import Confinement, Sandbox
from icapd.worker.selftest import notes_of, try_engines
from icapd.worker.supervisor import Supervisor
from icapd.worker.system import require_system_calls


def serve(loaded: Loaded, origin: Origin) -> int:
    """Runs the server until SIGTERM or SIGINT. Returns: the exit code.

    Args: `origin` is where a reload reads the configuration anew.
    Raises: ConfigurationError when the rules, lists or addresses cannot be used.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # one that comes too early waits until we can take it
    require_system_calls()
    inherited, service_manager = take_inherited(), ServiceManager()
    settings = loaded.settings
    edition = make_edition(loaded)
    fronts, scanners = process_counts(settings)
    access_fd = _open_access(loaded)
    listeners = open_listeners(settings, fronts, inherited)
    writer = LineWriter(2)
    log = EventLog(settings.log.level, writer.write, "supervisor")
    log.event(
        EventName.STARTING,
        version=__version__,
        fronts=fronts,
        scanners=scanners * fronts,
        istag=edition.plan.istag,
    )
    for note in notes_of(edition.trial):
        log.event(EventName.SELF_TEST, what=note)
    connections = settings.server.max_connections + (settings.http.max_connections if settings.http.listen else 0)
    raise_descriptor_limit()
    warn_of_few_descriptors(descriptor_limit(), connections, fronts, scanners, log)
    control = _open_control(listeners.admin, log)
    reactor = install_reactor()
    fleet = Fleet(reactor, listeners.shares, listeners.http, edition, access_fd, log)
    supervisor = Supervisor(reactor, fleet, listeners, origin, service_manager, log)
    reactor.callWhenRunning(supervisor.start, control)
    reactor.addSystemEventTrigger("after", "startup", lambda: _take_signals(reactor, supervisor))
    icap = listeners.addresses if inherited.icap else settings.server.listen
    for text in (*icap, *settings.http.listen, settings.server.admin):
        log.event(EventName.LISTENING, address=text)
    reactor.run(installSignalHandlers=True)
    for problem in supervisor.problems:
        print(problem, file=sys.stderr)
    writer.close()
    return supervisor.exit_code


def make_edition(loaded: Loaded) -> Edition:
    """Gathers the rules, tries them, makes what is needed on the disk, and plans. Raises: ConfigurationError."""
    watched: list[str] = []

    def resolve(text: str) -> Path:
        path = loaded.resolve(text)
        watched.append(str(path))
        return path

    snapshot = gather_snapshot(loaded.settings.engines, resolve, selection=loaded.settings.selection)
    rules_fd = blank_rules()
    trial = try_rules(snapshot, confinement_of(loaded), rules_fd)
    prepare_disk(loaded.settings.cache, loaded.resolve)
    plan = make_plan(loaded, snapshot)
    return Edition(
        plan,
        plan.read_settings(),
        make_memfd("icapd-plan", encode_plan(plan)),
        rules_fd,
        process_counts(loaded.settings)[1],
        trial,
        tuple(watched),
    )


def try_rules(
    snapshot: RulesetSnapshot, confinement: Confinement | None = None, rules_fd: int | None = None
) -> Trial:
    """Builds all engines once and tries them, in a child whose memory goes with it. Raises: ConfigurationError.

    Args: `confinement` is tried too, for who is going to serve; `rules_fd` takes the rules that were tried, compiled.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            gc.freeze()  # what is collected in a child is copied first
            tried = _try(snapshot, confinement, rules_fd)
        except BaseException as error:  # the child must not run on into the parent's code
            tried = Checked([("engines", f"{type(error).__name__}: {error}")])
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(encode(tried))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise ConfigurationError([Problem("engines", f"building them ended with status {status}")])
    checked = decode_checked(answer)
    if checked.problems:
        raise ConfigurationError(unpack_problems(checked.problems))
    return checked.trial


def _try(snapshot: RulesetSnapshot, confinement: Confinement | None, rules_fd: int | None) -> Checked:
    problems: list[Problem] = []
    trial = Trial()
    try:
        compiled = compile_engines(snapshot)
        trial = try_engines(build_engines(compiled))
        if rules_fd is not None:
            write_rules(rules_fd, compiled)
    except ConfigurationError as error:
        problems += error.problems
    try:
        if confinement is not None:
            Sandbox(confinement)
    except ConfigurationError as error:
        problems += error.problems
    return Checked(pack_problems(problems), trial=trial)


def confinement_of(loaded: Loaded) -> Confinement:
    """How the scanners of a configuration are held."""
    settings = loaded.settings
    return Confinement.of(settings.scanners, str(loaded.resolve(settings.spool.directory)))


def _open_control(admin: socket.socket, log: EventLog) -> socket.socket | None:
    """Where `icapd reload` asks. A server without it still reloads on SIGHUP."""
    try:
        return open_control(control_name(admin.getsockname()))
    except OSError as error:
        log.event(EventName.CONTROL_FAILED, reason=str(error))
        return None


def _open_access(loaded: Loaded) -> int:
    """The descriptor access lines go to; -1 for none. Raises: ConfigurationError."""
    access = loaded.settings.log.access
    if access == "off":
        return -1
    if access == "-":
        return os.dup(1)
    path = loaded.resolve(access)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK, 0o640)
    except OSError as error:
        why = "a pipe that nobody reads" if error.errno == errno.ENXIO else error.strerror
        raise ConfigurationError([Problem("log.access", f"{path}: {why}")]) from error
    os.set_blocking(descriptor, True)
    return descriptor


def _take_signals(reactor: Reactor, supervisor: Supervisor) -> None:
    def stop(number: int, frame: object) -> None:
        reactor.callFromThread(supervisor.stop)

    def reload(number: int, frame: object) -> None:
        reactor.callFromThread(supervisor.reload)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
