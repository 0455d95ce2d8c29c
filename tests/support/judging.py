"""What the engines say of a body under the default configuration, in the test's own process."""

from __future__ import annotations

import time
from functools import cache

from icapd.config.load import load
from icapd.plugins import build_engines, gather_snapshot, installed_specs
from icapd.scan.merge import merge
from icapd.scan.model import Sample, ScanReport
from icapd.scan.tree import EngineSet, examine

SCAN_S = 60.0


@cache
def default_engines() -> EngineSet:
    specs = installed_specs()
    loaded = load(None, specs, {}, {})
    return build_engines(
        gather_snapshot(loaded.settings.engines, loaded.resolve, specs, loaded.settings.selection), specs
    )


def judge(data: bytes, name: str = "", engines: EngineSet | None = None) -> ScanReport:
    """The verdict on a body, and why."""
    engines = engines or default_engines()
    budget = engines.budget(time.monotonic() + SCAN_S)
    return merge(examine(Sample(data, name=name), engines, budget), engines.required)
