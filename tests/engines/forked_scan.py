"""Builds the YARA engine, forks like a nursery does, and scans in each child. Run by test_yara in a fresh process.

A process of its own, because the test's question is whether time limits fire in a child of a process that never
matched anything; within pytest another test may have.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from engines.yara import SPEC, YaraOptions
from engines.yara.engine import YaraEngine
from icapd.scan.engine_api import Engine, Material
from icapd.scan.model import Budget, Sample
from tests.engines.slow_content import SLOW_CONTENT


def built_of_compiled(options: YaraOptions, material: Material) -> YaraEngine:
    """The engine as nurseries build it: from what another process has compiled."""
    assert SPEC.compiling is not None
    engine = SPEC.compiling.build(options, SPEC.compiling.compile(options, material))
    assert isinstance(engine, YaraEngine)
    return engine


def main(rules: str, backend: str) -> None:
    options = YaraOptions.model_validate({"rules": [rules], "backend": backend, "timeout_s": 2})
    engine = built_of_compiled(options, SPEC.gather(options, Path))
    for _ in range(2):
        if (child := os.fork()) == 0:
            _scan_in_child(engine)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"a child ended with status {status}")


def _scan_in_child(engine: Engine) -> None:
    outcomes = []
    for content in (b"has the needle", b"nothing", SLOW_CONTENT, b"has the needle"):
        report = engine.scan(Sample(content), Budget(time.monotonic() + 10))
        outcomes.append(report.outcome.value)
    os.write(1, json.dumps(outcomes).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
