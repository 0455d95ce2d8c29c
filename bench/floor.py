"""The least that a server of icapd's shape can cost: `python -m bench.floor` measures it beside c-icap, in turn.

Two fronts on bare epoll, two scanners each. A front finds the ends of a request, takes SHA-256 of its body and hands
it to a scanner; a scanner matches it with YARA-X and the rules of the benchmark; the answer is always 204. No limits,
types, policy, cache or log, and nothing is opened. What lies between this and icapd is all that can be gained.

It believes every byte that it reads, so it is good for nothing but this.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import select
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import yara_x

from bench.corpus import make_corpus
from bench.measure import CASES, Load, run
from bench.programs import ROOT, BenchError, find_programs
from bench.servers import LOOPBACK, Server, run_c_icap
from bench.signatures import write_yara_rules

_FRONTS = 2
_SCANNERS = 2
_READ_BYTES = 1 << 20
_PACKET_BYTES = 200_000
"""Of a larger body no more is matched: a packet holds no more."""
_CONTINUE = b"ICAP/1.0 100 Continue\r\n\r\n"
_UNCHANGED = b'ICAP/1.0 204 No Content\r\nISTag: "floor"\r\n\r\n'
_IEOF = b"0; ieof\r\n\r\n"
_ENDS = (b"\r\n0\r\n\r\n", _IEOF)
_HEADS = 3
"""An empty line ends each: ICAP's, the HTTP request's, the HTTP response's."""


class _Client:
    """One connection. State: what came of the request, and where its chunks begin."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.came = b""
        self.body_start = 0

    def read(self) -> bytes | None:
        """The body once it is whole. Raises: EOFError when the client has gone."""
        data = self.end.recv(_READ_BYTES)
        if not data:
            raise EOFError
        came = self.came = self.came + data if self.came else data
        if not came.endswith(_ENDS):
            return None
        if not self.body_start:
            for _ in range(_HEADS):
                self.body_start = came.find(b"\r\n\r\n", self.body_start) + 4
            if not came.endswith(_IEOF):
                self.end.send(_CONTINUE)
                return None
        return self._body()

    def _body(self) -> bytes:
        came, at, pieces, digest = self.came, self.body_start, [], hashlib.sha256()
        while at < len(came):
            line_end = came.find(b"\r\n", at)
            size = int(came[at:line_end].partition(b";")[0], 16)
            piece = came[line_end + 2 : line_end + 2 + size]
            pieces.append(piece)
            digest.update(piece)
            at = line_end + 4 + size
        digest.digest()
        self.came, self.body_start = b"", 0
        return b"".join(pieces)


def _scan(end: socket.socket, rules: yara_x.Rules, others: list[socket.socket]) -> None:
    for other in others:  # or no scanner would see the end of its front
        other.close()
    scanner = yara_x.Scanner(rules)
    scanner.fast_scan(True)
    while body := end.recv(_READ_BYTES):
        end.send(b"1" if scanner.scan(body).matching_rules else b"0")


def _fork(work: object, *values: object) -> int:
    """Returns: the child's process id; the child does the work and ends."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            assert callable(work)
            work(*values)
        os._exit(0)
    return child


def _serve(listener: socket.socket, rules: yara_x.Rules) -> None:
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, _Client] = {}
    busy: dict[int, tuple[socket.socket, _Client | None]] = {}
    idle: list[socket.socket] = []
    waiting: deque[tuple[_Client, bytes]] = deque()
    for _ in range(_SCANNERS):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _READ_BYTES)
        _fork(_scan, theirs, rules, [ours, *idle])
        theirs.close()
        poll.register(ours.fileno(), select.EPOLLIN)
        busy[ours.fileno()] = ours, None
        idle.append(ours)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in busy:
                scanner, client = busy[descriptor]
                scanner.recv(1)
                idle.append(scanner)
                if client is not None:
                    with contextlib.suppress(OSError):  # it has gone
                        client.end.send(_UNCHANGED)
            elif descriptor == listener.fileno():
                with contextlib.suppress(BlockingIOError):  # the other front was first
                    end, _ = listener.accept()
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    poll.register(end.fileno(), select.EPOLLIN)
                    clients[end.fileno()] = _Client(end)
            else:
                try:
                    body = clients[descriptor].read()
                except (EOFError, OSError):
                    poll.unregister(descriptor)
                    clients.pop(descriptor).end.close()
                    continue
                if body is not None:
                    waiting.append((clients[descriptor], body))
            while idle and waiting:
                scanner, (client, body) = idle.pop(), waiting.popleft()
                busy[scanner.fileno()] = scanner, client
                scanner.send(body[:_PACKET_BYTES])


@contextlib.contextmanager
def run_floor(state: Path) -> Iterator[Server]:
    """The floor's server. It forks, so the process must have no threads.

    Args: `state` is a folder in which nothing else has a file `synthetic.yar`.
    """
    compiler = yara_x.Compiler()
    write_yara_rules(state / "synthetic.yar")
    for path in (state / "synthetic.yar", *sorted((ROOT / "conf" / "rules").glob("*.yar"))):
        compiler.new_namespace(path.name)
        compiler.add_source(path.read_text())
    rules = compiler.build()
    with socket.create_server((LOOPBACK, 0), backlog=256) as listener:
        listener.setblocking(False)
        fronts = [_fork(_serve, listener, rules) for _ in range(_FRONTS)]
        try:
            yield Server("floor", fronts[0], listener.getsockname()[1])
        finally:
            for front in fronts:  # their scanners end with their sockets
                os.kill(front, signal.SIGKILL)
                os.waitpid(front, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    made = ROOT / ".bench"
    made.mkdir(exist_ok=True)
    case = next(case for case in CASES if case.name == "unique")
    rates: dict[str, list[float]] = {}
    try:
        programs = find_programs(made)
        make_corpus(made / "corpus")
        load = Load(programs.loader, made / "corpus", options.seconds, options.rounds)
        with contextlib.ExitStack() as servers:
            state = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="icapd-bench-")))
            state.chmod(0o755)
            both = [
                servers.enter_context(run_floor(state)),
                servers.enter_context(run_c_icap(programs, state, made)),
            ]
            for _ in range(options.rounds):
                for server in both:
                    asked = case._replace(options=(*case.options, "--no-verdict"))
                    done = run(asked, load, server, case.c_icap_service)
                    rates.setdefault(server.name, []).append(done.req_s)
                    print(f"{server.name:7} {done.req_s:9,.0f} requests/s, {done.errors} errors", flush=True)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the floor is {median(rates['floor']) / median(rates['c-icap']):.1f} times c-icap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
