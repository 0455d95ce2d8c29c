"""What an engine is. An engine module imports this and `icapd.scan.model`, and nothing else of icapd.

An engine package registers an `EngineSpec` under the entry-point group `icapd.engines`. Life of an engine:

1. the supervisor validates `[engines.NAME]` with `options`, then calls `gather` once: every file the engine needs is
   read there, so that all processes judge by the same snapshot, also one that is respawned after a file changed;
2. the ruleset id is a digest over version, options and material;
3. each scanner nursery calls `build(options, material)` once and forks scanners from it;
4. a scanner calls `scan` on the body and on every member that an unpacker yields, in a sandbox: no file but the
   body's descriptor can be opened, no module imported that `build` has not, no socket or process started.

A remote engine (`is_remote`) asks a server instead. It is built in fronts, never in a nursery, and parses nothing but
that server's answers; `icapd.scan.remote` minds its times and leaves it alone while the server is gone. Sockets come
from `icapd.scan.connections`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from icapd.errors import ConfigurationError as ConfigurationError
from icapd.errors import DeadlineReached as DeadlineReached
from icapd.errors import LimitReached as LimitReached
from icapd.errors import Problem as Problem
from icapd.errors import RemoteFailed as RemoteFailed
from icapd.scan.model import Budget, Buffer, EngineReport, Finding, Identity, Sample

ALWAYS_ASKED: Final = frozenset({"identify", "hashes"})
"""Engines that no [[selection]] skips: what a body is, and lists of digests, which are cheap and never wrong."""

Material = Mapping[str, bytes]
"""Everything an engine reads from outside: a stable name (usually a path) to its content."""

Tables = Mapping[str, Buffer]
"""Material in memory that processes share, to be read and nothing else."""


def open_regular(path: Path) -> BinaryIO:
    """A file that is read at the start. Pipes would keep the start waiting, and devices have no end.

    Raises: OSError, also for what is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, os.strerror(number) if stat.S_ISDIR(mode) else "is no regular file", str(path))


class EngineOptions(BaseModel):
    """The keys that every `[engines.NAME]` table has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="run this engine")
    required: bool = Field(True, description="a body this engine could not judge is an ERROR, not CLEAN")
    timeout_s: float = Field(20.0, gt=0, le=600, description="the engine's share of a scan's time")


class RemoteOptions(EngineOptions):
    """The keys that the table of every remote engine has besides. Remote engines are off unless asked for."""

    enabled: bool = Field(False, description="run this engine, beside the scanners")
    engine: str | None = Field(
        None, examples=["icap"], description="in a table of another name: which remote engine this is one more of"
    )
    connections: int = Field(
        8, ge=1, le=256, description="to the server at the same time, from each front; what more there is waits"
    )
    connect_timeout_s: float = Field(2.0, gt=0, le=60, description="to connect, and for an answer to a probe")
    probe_s: float = Field(60.0, ge=0.1, le=3600, description="how often the server is asked for its version")
    failures_before_rest: int = Field(
        3, ge=1, le=100, description="probes that fail in a row before the server is left alone"
    )
    retry_s: float = Field(5.0, ge=0.1, le=600, description="how often a server that is left alone is probed")


@runtime_checkable
class Engine(Protocol):
    """Judges one sample. Blocking, in a scanner process; keeps no state between samples; reports, never raises."""

    name: str

    def scan(self, sample: Sample, budget: Budget) -> EngineReport: ...


@runtime_checkable
class Identifier(Protocol):
    """Says what bytes are. Asked once for each sample, before any engine."""

    def identify(self, sample: Sample) -> Identity: ...


@runtime_checkable
class Unpacker(Protocol):
    """Finds samples inside a sample.

    `unpack` yields members while it reads them, charges `budget` for each and for its bytes, and may raise
    LimitReached. What it could not read it yields as a Finding of kind limit, encrypted, corrupt or unsupported.
    """

    name: str

    def opens(self, sample: Sample) -> bool: ...

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]: ...


class RemoteBody(Protocol):
    """A whole body as a remote engine sees it. Stays as it is until `scan` has ended."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def sha256(self) -> bytes: ...

    @property
    def coding(self) -> str:
        """Content-Encoding as declared, lower case; the bytes are still coded."""

    def read(self, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `offset`; empty at the end."""

    def descriptor(self) -> int:
        """An open file of exactly these bytes. It stays the body's own and can be written to: not for others."""


@runtime_checkable
class RemoteEngine(Protocol):
    """Asks a server about whole bodies, many at the same time. In a front's reactor, which must never wait.

    `start` is given Twisted's reactor; nothing is connected before. A scan may be cancelled, as any Deferred may, and
    is when its time is over: what it began is then given up. What the server says of one body goes into the report;
    RemoteFailed is for a server that cannot be asked, and has it probed.
    """

    name: str

    def start(self, reactor: Any) -> None: ...

    def stop(self) -> None: ...

    async def probe(self) -> str:
        """What answers there, and with which signatures: another text, another ruleset. Raises: RemoteFailed."""

    async def scan(self, body: RemoteBody, deadline: float) -> EngineReport:
        """Raises: RemoteFailed. Units: `deadline` is a `time.monotonic()` reading."""


@runtime_checkable
class UrlEngine(Protocol):
    """Says what is known of the URL of a request, in a front, before its body is read. Answers at once; never raises.

    What it reads is `Tables`: one copy for all fronts. Its findings belong to one message and are never remembered
    with a body's.
    """

    name: str

    def look_up(self, host: str, port: str, target: bytes) -> tuple[Finding, ...]:
        """Args: `host` is lower case, else as the request has it, and never empty; `port` is empty when none is
        given; `target` is that of the request line, as it came.
        """


@dataclass(frozen=True)
class Compiling:
    """Of an engine that takes long to build: the long part is done once, where rules are tried, and each nursery
    builds from what came of it.

    `compile(options, material)` raises ConfigurationError with file and line. `build` takes what it returned.
    """

    compile: Callable[[EngineOptions, Material], Material]
    build: Callable[[EngineOptions, Material], object]


@dataclass(frozen=True)
class EngineSpec:
    """How icapd finds, configures and builds one engine.

    `gather(options, resolve)` reads files; `resolve` turns a configured path into an absolute one. It raises
    ConfigurationError for what is missing. `build(options, material)` raises ConfigurationError with file and line.
    One that `is_remote` builds a RemoteEngine, with RemoteOptions.
    """

    name: str
    options: type[EngineOptions]
    gather: Callable[[EngineOptions, Callable[[str], Path]], Material]
    build: Callable[[EngineOptions, Material], object]
    version: Callable[[], str]
    is_remote: bool = False
    build_in_front: Callable[[EngineOptions, Tables], UrlEngine] | None = None
    """Builds a UrlEngine, from tables that are shared; scanners have none. `build` then only tries the material."""
    compiling: Compiling | None = None
