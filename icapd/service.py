"""`icapd serve`, put together: configuration, rules, sockets, then the supervisor.

Everything that can be wrong is found before the first socket listens: the configuration, the rules (built once in a
child, so that their memory is given back), the addresses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import stat
import sys

import msgspec

from icapd import __version__
from icapd.cache.secret import load_secret, prepare_disk
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
from icapd.worker.supervisor import Supervisor, close_listeners

_BACKLOG = 4096
_SCANNERS_A_FRONT_MIN = 2
_DESCRIPTORS_A_SCANNER = 2  # its channel and its pidfd
_DESCRIPTORS_A_FRONT = 64  # listeners, logs, memcached, the reactor's own; and a few to spare


def serve(loaded: Loaded) -> int:
    """Runs the server until SIGTERM or SIGINT. Returns: the exit code.

    Raises: ConfigurationError when the rules, lists or addresses cannot be used.
    """
    settings = loaded.settings
    snapshot = gather_snapshot(settings.engines, loaded.resolve)
    check_engines(snapshot)
    prepare_disk(settings.cache, loaded.resolve)
    plan = make_plan(loaded, snapshot)
    fronts, scanners = process_counts(settings)
    access_fd = _open_access(loaded)
    sockets, admin = _open_sockets(settings, fronts)
    writer = LineWriter(2)
    log = EventLog(settings.log.level, writer.write, "supervisor")
    log.event(EventName.STARTING, version=__version__, fronts=fronts, scanners=scanners * fronts, istag=plan.istag)
    warn_of_few_descriptors(_raise_descriptor_limit(), settings.server.max_connections, fronts, scanners, log)
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
    for problem in supervisor.problems:
        print(problem, file=sys.stderr)
    writer.close()
    return supervisor.exit_code


def make_plan(loaded: Loaded, snapshot: RulesetSnapshot) -> Plan:
    """What every front is told."""
    settings = loaded.settings
    spool = settings.spool.model_copy(update={"directory": str(loaded.resolve(settings.spool.directory))})
    disk = settings.cache.disk
    if disk.directory is not None:
        disk = disk.model_copy(update={"directory": str(loaded.resolve(disk.directory))})
    cache = settings.cache.model_copy(update={"disk": disk})
    return Plan(
        settings=settings.model_copy(update={"spool": spool, "cache": cache}).model_dump_json().encode(),
        ruleset=snapshot.ruleset,
        istag=istag(snapshot.ruleset, _judgement(loaded)),
        required={name: options.required for name, options in settings.engines.items() if options.enabled},
        pages={name or "": page.source for name, page in loaded.pages.items()},
        secret=load_secret(settings.cache, loaded.resolve),
    )


def _judgement(loaded: Loaded) -> bytes:
    """What decides on an answer besides the ruleset: what each service does with a body, and by which policy.

    One ISTag stands for all services. In what order the file has them is no matter.
    """
    body_bytes = loaded.settings.limits.body_bytes
    services = sorted(
        (
            service.path,
            sorted(service.aliases),
            sorted(service.methods),
            loaded.policy_of(service).digest,
            service.scan,
            "all" if service.engines is None else sorted(service.engines),
            min(body_bytes, service.max_body_bytes or body_bytes),
        )
        for service in loaded.settings.service
    )
    return msgspec.msgpack.encode((services, body_bytes))


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
    fronts = max(min(2, cores), cores // 4) if settings.server.fronts == "auto" else settings.server.fronts
    if settings.scanners.count == "auto":
        return fronts, max(_SCANNERS_A_FRONT_MIN, cores // fronts)
    return fronts, max(1, -(-settings.scanners.count // fronts))


def _open_sockets(settings: Settings, fronts: int) -> tuple[list[list[socket.socket]], socket.socket]:
    """For each front its own socket of each address, and the admin's. The kernel spreads clients over the fronts.

    Raises: ConfigurationError with every address that cannot be had.
    """
    shares: list[list[socket.socket]] = [[] for _ in range(fronts)]
    problems: list[Problem] = []
    for index, text in enumerate(settings.server.listen):
        try:
            for own, listener in zip(shares, _listen(parse_listen(text), fronts), strict=True):
                own.append(listener)
        except OSError as error:
            problems.append(Problem(f"server.listen[{index}]", f"{text}: {error.strerror or error}"))
    try:
        [admin] = _listen(parse_admin(settings.server.admin), 1)
    except OSError as error:
        problems.append(Problem("server.admin", f"{settings.server.admin}: {error.strerror or error}"))
    if problems:
        close_listeners([listener for own in shares for listener in own])
        raise ConfigurationError(problems)
    return shares, admin


def _listen(endpoint: Endpoint, fronts: int) -> list[socket.socket]:
    """One listening socket for each front. Raises: OSError."""
    if endpoint.is_unix:
        listener = _bind_unix(endpoint.path)
        listeners = [listener, *(listener.dup() for _ in range(fronts - 1))]
    elif fronts == 1:
        listeners = [_bind(endpoint)]
    else:
        # SO_REUSEPORT would let in a second server without a word; this bind fails where one listens.
        with _bind(endpoint) as probe:
            endpoint = endpoint._replace(port=probe.getsockname()[1])
        listeners = [_bind(endpoint, is_shared=True) for _ in range(fronts)]
    for listener in listeners:
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    return listeners


def _bind(endpoint: Endpoint, *, is_shared: bool = False) -> socket.socket:
    """Raises: OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: str) -> socket.socket:
    """A stale socket of a server that is gone is replaced; a living server's is not, nor any other file.

    Raises: OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
        if _is_answered(path):
            raise OSError(errno.EADDRINUSE, "another server listens there")
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a living server with a full backlog would keep us waiting
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True


def _open_access(loaded: Loaded) -> int:
    """The descriptor access lines go to; -1 for none. Raises: ConfigurationError."""
    access = loaded.settings.log.access
    if access == "off":
        return -1
    if access == "-":
        return os.dup(1)
    path = loaded.resolve(access)
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigurationError([Problem("log.access", f"{path}: {error.strerror}")]) from error


def _raise_descriptor_limit() -> int:
    """As many descriptors as we may have: each client needs one, and a large body another. Returns: how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def warn_of_few_descriptors(limit: int, connections: int, fronts: int, scanners: int, log: EventLog) -> None:
    """Says so when a front with its share of the connections would have none left. Large bodies come on top."""
    wanted = -(-connections // fronts) + _DESCRIPTORS_A_SCANNER * scanners + _DESCRIPTORS_A_FRONT
    if limit < wanted:
        log.event(EventName.DESCRIPTORS_FEW, limit=limit, wanted=wanted, key="server.max_connections")


def _take_signals(reactor: Reactor, supervisor: Supervisor) -> None:
    def stop(number: int, frame: object) -> None:
        reactor.callFromThread(supervisor.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
