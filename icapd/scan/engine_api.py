"""What an engine is. An engine module imports this and `icapd.scan.model`, and nothing else of icapd.

An engine package registers an `EngineSpec` under the entry-point group `icapd.engines`. Life of an engine:

1. the supervisor validates `[engines.NAME]` with `options`, then calls `gather` once: every file the engine needs is
   read there, so that all processes judge by the same snapshot, also one that is respawned after a file changed;
2. the ruleset id is a digest over version, options and material;
3. each scanner nursery calls `build(options, material)` once and forks scanners from it;
4. a scanner calls `scan` on the body and on every member that an unpacker yields, in a sandbox: no file but the
   body's descriptor can be opened, no module imported that `build` has not, no socket or process started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from icapd.errors import ConfigurationError as ConfigurationError
from icapd.errors import DeadlineReached as DeadlineReached
from icapd.errors import LimitReached as LimitReached
from icapd.errors import Problem as Problem
from icapd.scan.model import Budget, EngineReport, Finding, Identity, Sample

Material = Mapping[str, bytes]
"""Everything an engine reads from outside: a stable name (usually a path) to its content."""


class EngineOptions(BaseModel):
    """The keys that every `[engines.NAME]` table has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="run this engine")
    required: bool = Field(True, description="a body this engine could not judge is an ERROR, not CLEAN")
    timeout_s: float = Field(20.0, gt=0, le=600, description="the engine's share of a scan's time")


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


@dataclass(frozen=True)
class EngineSpec:
    """How icapd finds, configures and builds one engine.

    `gather(options, resolve)` reads files; `resolve` turns a configured path into an absolute one. It raises
    ConfigurationError for what is missing. `build(options, material)` raises ConfigurationError with file and line.
    """

    name: str
    options: type[EngineOptions]
    gather: Callable[[EngineOptions, Callable[[str], Path]], Material]
    build: Callable[[EngineOptions, Material], object]
    version: Callable[[], str]
