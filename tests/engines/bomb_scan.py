"""Scans the body on standard input in a process of its own; prints verdict, findings, CPU seconds and grown memory.

python -m tests.engines.bomb_scan [FOLDER OF YARA RULES] <BODY
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from engines.embedded import SPEC as EMBEDDED
from engines.embedded import EmbeddedOptions
from engines.identify import load_libmagic
from engines.identify.identifier import ContentIdentifier
from engines.yara import SPEC as YARA
from engines.yara import YaraOptions
from icapd.scan.engine_api import Engine, Unpacker
from icapd.scan.merge import merge
from icapd.scan.model import Sample
from icapd.scan.tree import EngineSet, examine
from tests.engines.archive_probe import unpacker


def memory_bytes(field: str) -> int:
    """What the system says of this process alone; `getrusage` counts the one it was forked from, too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def yara() -> tuple[Engine, ...]:
    options = YaraOptions(rules=sys.argv[1:])
    engine = YARA.build(options, YARA.gather(options, Path))
    assert isinstance(engine, Engine)
    return (engine,) if options.rules else ()


def main() -> None:
    archive = unpacker()
    embedded = EMBEDDED.build(EmbeddedOptions(), {})
    assert isinstance(embedded, Unpacker)
    engines = EngineSet(ContentIdentifier(load_libmagic()), yara(), (archive, embedded))
    data = sys.stdin.buffer.read()
    before_bytes = memory_bytes("VmRSS")
    started = time.process_time()
    report = merge(examine(Sample(data), engines, archive.budget(time.monotonic() + 60)), frozenset({"archive"}))
    cpu_s = time.process_time() - started
    grown_bytes = memory_bytes("VmHWM") - before_bytes
    names = sorted({f"{finding.kind}:{finding.name}" for finding in report.findings})
    print(json.dumps({"verdict": report.verdict, "names": names, "cpu_s": cpu_s, "grown_bytes": grown_bytes}))


if __name__ == "__main__":
    main()
