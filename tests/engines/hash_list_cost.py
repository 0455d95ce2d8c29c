"""Loads a list of a million digests and tells what that cost. Run by test_hashes: peak memory is of a process."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from engines.hashes import SPEC, HashesOptions


def main(path: str) -> None:
    options = HashesOptions(deny=[path])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    material = SPEC.gather(options, Path)
    SPEC.build(options, material)
    cpu_s = time.process_time() - started
    added_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    rows = len(material["deny.sha256"]) // 36
    sys.stdout.write(json.dumps({"cpu_s": cpu_s, "added_mb": added_mb, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
