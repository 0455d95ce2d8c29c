"""The cases, and one run of the load generator against one server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.programs import BenchError
from bench.report import CaseResult, Run
from bench.servers import LOOPBACK, Server

CONNECTIONS: Final = 64

_PREVIEW_BYTES: Final = 1024
_WARM_UP_S: Final = 1
_SURPLUS_S: Final = 60


class Case(NamedTuple):
    """What is asked of both servers, and how much faster icapd must be."""

    name: str
    title: str
    c_icap_service: str
    icapd_service: str
    options: tuple[str, ...]
    budget: float


CASES: Final = (
    Case("echo", "echo, nothing scanned", "echo", "echo", ("--no-verdict",), 2.0),
    Case("unique", "every body unique, scanned", "virus_scan", "respmod", ("--unique",), 4.0),
    Case("repeats", "87 % of bodies seen before", "virus_scan", "respmod", ("--hit", "0.87"), 6.0),
)


class Load(NamedTuple):
    """How each run is made."""

    loader: Path
    corpus: Path
    seconds: float
    rounds: int


def measure(
    case: Case, load: Load, c_icap: Server, icapd: Server, on_run: Callable[[Case, str, Run], object]
) -> CaseResult:
    """Runs the servers in turn, so that whatever else the machine does meets both. Raises: BenchError.

    Args:
        on_run: told of each run when it ends, with the server's name.
    """
    result = CaseResult(case.name, case.title, case.budget, [], [])
    for _ in range(load.rounds):
        for server, service, runs in (
            (c_icap, case.c_icap_service, result.c_icap),
            (icapd, case.icapd_service, result.icapd),
        ):
            runs.append(run(case, load, server, service))
            on_run(case, server.name, runs[-1])
    return result


def run(case: Case, load: Load, server: Server, service: str) -> Run:
    """One run of the load generator. Raises: BenchError."""
    options = {
        "--host": LOOPBACK,
        "--port": server.port,
        "--service": service,
        "--conns": CONNECTIONS,
        "--duration": load.seconds,
        "--warmup": _WARM_UP_S,
        "--preview": _PREVIEW_BYTES,
        "--corpus": load.corpus,
    }
    command = [str(load.loader), *(str(word) for option in options.items() for word in option), *case.options]
    try:
        done = subprocess.run(command, capture_output=True, timeout=load.seconds + _SURPLUS_S, check=True)
        found = msgspec.json.decode(done.stdout, type=Run)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"the load generator failed: {error.stderr.decode(errors='replace')}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{server.name}, {case.name}: the load generator did not end") from error
    if not found.ok:
        raise BenchError(f"{server.name}, {case.name}: not one correct answer in {found.requests} requests")
    return found
