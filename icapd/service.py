"""`icapd serve`, put together: configuration, rules, sockets, then the supervisor.

Everything that can be wrong is found before the first socket listens: the configuration, the rules (built once in a
child, so that their memory is given back), the addresses.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys

import msgspec

from icapd import __version__
from icapd.cache.tiers import load_secret
from icapd.config.address import Endpoint, parse_admin, parse_listen
from icapd.config.load import Loaded
from icapd.config.schema import Settings
from icapd.errors import ConfigurationError, Problem
from icapd.observe.lines import LineWriter
from icapd.observe.log import EventLog, EventName
from icapd.plugins import RulesetSnapshot, build_engines, encode_snapshot, gather_snapshot
from icapd.reactor import Reactor, install_reactor
from icapd.scan.ruleset import istag
from icapd.worker.frames import pack_problems, unpack_problems
from icapd.worker.memfd import make_memfd
from icapd.worker.plan import Plan, encode_plan
from icapd.worker.supervisor import Supervisor

_BACKLOG = 4096
_SCANNERS_A_FRONT_MIN = 2


def serve(loaded: Loaded) -> int:
    """Runs the server until SIGTERM or SIGINT. Returns: the exit code.

    Raises: ConfigurationError when the rules, lists or addresses cannot be used.
    """
    settings = loaded.settings
    snapshot = gather_snapshot(settings.engines, loaded.resolve)
    check_engines(snapshot)
    plan = make_plan(loaded, snapshot)
    _raise_descriptor_limit()
    fronts, scanners = process_counts(settings)
    sockets = _listen(settings, fronts)
    admin = _bind(parse_admin(settings.server.admin), "server.admin")
    access_fd = _open_access(settings)
    writer = LineWriter(2)
    log = EventLog(settings.log.level, writer.write, "supervisor")
    log.event(EventName.STARTING, version=__version__, fronts=fronts, scanners=scanners * fronts, istag=plan.istag)
    reactor = install_reactor()
    supervisor = Supervisor(
        reactor,
        sockets,
        scanners,
        make_memfd("icapd-plan", encode_plan(plan)),
        make_memfd("icapd-rules", encode_snapshot(snapshot)),
        access_fd,
        settings.timeouts.shutdown_s,
        log,
        (__version__, plan.ruleset, plan.istag),
    )
    reactor.callWhenRunning(supervisor.start, admin)
    reactor.addSystemEventTrigger("after", "startup", lambda: _take_signals(reactor, supervisor))
    for text in (*settings.server.listen, settings.server.admin):
        log.event(EventName.LISTENING, address=text)
    reactor.run(installSignalHandlers=True)
    _remove_unix_sockets(settings)
    for problem in supervisor.problems:
        print(problem, file=sys.stderr)
    writer.close()
    return supervisor.exit_code


def make_plan(loaded: Loaded, snapshot: RulesetSnapshot) -> Plan:
    """What every front is told."""
    settings = loaded.settings
    policy_digest = b"".join(policy.digest for _, policy in sorted(loaded.policies.items()))
    return Plan(
        settings=settings.model_dump_json().encode(),
        base=str(loaded.base),
        ruleset=snapshot.ruleset,
        istag=istag(snapshot.ruleset, policy_digest),
        required={name: options.required for name, options in settings.engines.items() if options.enabled},
        pages={name or "": page.source for name, page in loaded.pages.items()},
        secret=load_secret(settings.cache, loaded.resolve),
    )


def check_engines(snapshot: RulesetSnapshot) -> None:
    """Builds all engines once, in a child whose memory goes with it. Raises: ConfigurationError."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        problems: list[Problem] = []
        try:
            build_engines(snapshot)
        except ConfigurationError as error:
            problems = error.problems
        except BaseException as error:  # the child must not run on into the parent's code
            problems = [Problem("engines", f"{type(error).__name__}: {error}")]
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(msgspec.json.encode(pack_problems(problems)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise ConfigurationError([Problem("engines", f"building them ended with status {status}")])
    problems = unpack_problems(msgspec.json.decode(answer, type=list[tuple[str, str]]))
    if problems:
        raise ConfigurationError(problems)


def process_counts(settings: Settings) -> tuple[int, int]:
    """Fronts, and scanners of each front."""
    cores = len(os.sched_getaffinity(0))
    fronts = max(1, cores // 4) if settings.server.fronts == "auto" else settings.server.fronts
    if settings.scanners.count == "auto":
        return fronts, max(_SCANNERS_A_FRONT_MIN, cores // fronts)
    return fronts, max(1, -(-settings.scanners.count // fronts))


def _listen(settings: Settings, fronts: int) -> list[list[socket.socket]]:
    """For each front its own socket of each address; the kernel spreads clients over them (SO_REUSEPORT)."""
    sockets: list[list[socket.socket]] = [[] for _ in range(fronts)]
    for index, text in enumerate(settings.server.listen):
        endpoint = parse_listen(text)
        where = f"server.listen[{index}]"
        if endpoint.is_unix:
            shared = _bind(endpoint, where)
            for own in sockets:
                own.append(shared.dup())
            shared.close()
            continue
        for own in sockets:
            listener = _bind(endpoint, where, is_shared=fronts > 1)
            endpoint = endpoint._replace(port=listener.getsockname()[1])
            own.append(listener)
    return sockets


def _bind(endpoint: Endpoint, where: str, *, is_shared: bool = False) -> socket.socket:
    """Raises: ConfigurationError when the address cannot be had."""
    try:
        if endpoint.is_unix:
            return _bind_unix(endpoint.path)
        family, _, _, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        raise ConfigurationError([Problem(where, f"{endpoint}: {error.strerror or error}")]) from error
    return listener


def _bind_unix(path: str) -> socket.socket:
    """A stale socket file of a server that is gone is replaced; a living server's is not."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(ConnectionRefusedError, FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
        raise OSError(98, "another server listens there")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _remove_unix_sockets(settings: Settings) -> None:
    for text in settings.server.listen:
        endpoint = parse_listen(text)
        if endpoint.is_unix:
            with contextlib.suppress(OSError):
                os.unlink(endpoint.path)


def _open_access(settings: Settings) -> int:
    """The descriptor access lines go to; -1 for none. Raises: ConfigurationError."""
    if settings.log.access == "off":
        return -1
    if settings.log.access == "-":
        return os.dup(1)
    try:
        return os.open(settings.log.access, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigurationError([Problem("log.access", f"{settings.log.access}: {error.strerror}")]) from error


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: each client needs one, and a large body another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _take_signals(reactor: Reactor, supervisor: Supervisor) -> None:
    def stop(number: int, frame: object) -> None:
        reactor.callFromThread(supervisor.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
