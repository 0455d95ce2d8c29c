"""For the tests of an engine: what it says of some bytes, in one call; and engines that behave badly on purpose.

`scan` takes an engine's spec the way the server does: options are validated, files gathered, the engine built, and
the walk of a scanner goes over the body and its members. So a test sees what policy would see, also of an engine that
raises or takes too long. It runs in the test's own process: what only a sandbox forbids, `icapd scan` shows.

No engine imports this module.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from icapd.scan.engine_api import Engine, EngineOptions, EngineSpec, Identifier, Unpacker
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Identity, Outcome, Sample, Severity
from icapd.scan.tree import EngineSet, examine

SCAN_S: Final = 10.0
MARK: Final = b"evil"
"""What the engines of this module look for."""
UNKNOWN: Final = Identity("application/octet-stream", "unknown")


class _Says:
    """Identifies every sample as what the test says it is."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def identify(self, sample: Sample) -> Identity:
        return self._identity


def build(spec: EngineSpec, options: Mapping[str, Any] | None = None, folder: Path | None = None) -> object:
    """The engine as a scanner would have it.

    Args: `options` is its table `[engines.NAME]`; `folder` is where relative paths of options start.
    Raises: pydantic.ValidationError, ConfigurationError.
    """
    validated = spec.options.model_validate(dict(options or {}))
    base = folder or Path.cwd()
    return spec.build(validated, spec.gather(validated, lambda text: base / text))


def engine_set(engine: object, name: str, timeout_s: float = SCAN_S, identity: Identity = UNKNOWN) -> EngineSet:
    """A set with this one engine. Raises: TypeError for what is no engine that scanners run."""
    if not isinstance(engine, Engine | Identifier | Unpacker):
        raise TypeError(f"{type(engine).__name__} is no engine")
    return EngineSet(
        identifier=engine if isinstance(engine, Identifier) else _Says(identity),
        engines=(engine,) if isinstance(engine, Engine) else (),
        unpackers=(engine,) if isinstance(engine, Unpacker) else (),
        timeouts_s={name: timeout_s},
        required=frozenset({name}),
    )


def scan(
    spec: EngineSpec,
    data: bytes,
    *,
    options: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    identity: Identity = UNKNOWN,
    timeout_s: float = SCAN_S,
) -> EngineReport:
    """What the engine says of a body and of everything it finds inside it."""
    engines = engine_set(build(spec, options, folder), spec.name, timeout_s, identity)
    examination = examine(Sample(data), engines, Budget(time.monotonic() + 2 * timeout_s))
    return next(report for report in examination.reports if report.engine == spec.name)


def members(
    spec: EngineSpec, data: bytes, *, options: Mapping[str, Any] | None = None, identity: Identity = UNKNOWN
) -> dict[str, bytes]:
    """What an unpacker finds in a body, one level deep, by name. Raises: TypeError, LimitReached."""
    unpacker = build(spec, options)
    if not isinstance(unpacker, Unpacker):
        raise TypeError(f"{type(unpacker).__name__} opens nothing")
    sample = Sample(data, identity=identity)
    if not unpacker.opens(sample):
        return {}
    found = unpacker.unpack(sample, Budget(time.monotonic() + SCAN_S))
    return {item.name: bytes(item.data) for item in found if isinstance(item, Sample)}


def growth_bytes(spec: EngineSpec, data: bytes, *, options: Mapping[str, Any] | None = None, scans: int = 50) -> int:
    """How much more memory of Python's an engine holds after so many scans of a body than after the first ones."""
    engines = engine_set(build(spec, options), spec.name)

    def scan_once() -> None:
        examine(Sample(bytes(data)), engines, Budget(time.monotonic() + SCAN_S))

    for _ in range(10):  # caches of the interpreter fill
        scan_once()
    tracemalloc.start()
    try:
        scan_once()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(scans):
            scan_once()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


class Finds:
    """Finds its word, wherever it stands."""

    def __init__(self, name: str = "finds", word: bytes = MARK) -> None:
        self.name = name
        self._word = word

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        if sample.data.find(self._word) < 0:
            return EngineReport(self.name, Outcome.NOTHING_FOUND)
        finding = Finding(FindingKind.MALWARE, "Test.Finds", self.name, Severity.HIGH)
        return EngineReport(self.name, Outcome.FOUND, (finding,))


class Sleeps(Finds):
    """Sleeps over each sample; `minds_budget` wakes it when its time is over, as an engine should be."""

    def __init__(self, seconds: float, name: str = "sleeps", *, minds_budget: bool = True) -> None:
        super().__init__(name)
        self._seconds = seconds
        self._minds_budget = minds_budget

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        end = time.monotonic() + self._seconds
        while (left_s := end - time.monotonic()) > 0:
            if self._minds_budget:
                budget.check_time()
            time.sleep(min(left_s, 0.01))
        return super().scan(sample, budget)


class Crashes(Finds):
    """Raises on samples with its word."""

    def __init__(self, error: Exception | None = None, name: str = "crashes") -> None:
        super().__init__(name)
        self._error = error or RuntimeError("crashed as told")

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        report = super().scan(sample, budget)
        if report.findings:
            raise self._error
        return report


class Leaks(Finds):
    """Keeps a copy of each sample for ever."""

    def __init__(self, name: str = "leaks") -> None:
        super().__init__(name)
        self._kept: list[bytearray] = []

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        self._kept.append(bytearray(sample.data))
        return super().scan(sample, budget)


class Splits:
    """An unpacker: what stands between bars is a member each, named by its number."""

    def __init__(self, name: str = "splits") -> None:
        self.name = name

    def opens(self, sample: Sample) -> bool:
        return sample.data.find(b"|") >= 0

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        for number, member in enumerate(bytes(sample.data).split(b"|")):
            budget.take_member()
            budget.take_bytes(len(member))
            yield sample.member(member, str(number))


def spec_of(engine: Finds | Splits) -> EngineSpec:
    """A spec for an engine of this module, or for any other that is built already and reads no files."""
    return EngineSpec(
        engine.name, EngineOptions, lambda options, resolve: {}, lambda options, material: engine, lambda: "1"
    )
