"""What scanning costs nginx: `python -m tests.e2e.measure_nginx` prints the table of docs/performance.md.

A response of 10 KB from disk, through the inner server, asked for by wrk: over one connection for the time
of a request, over 32 for the rate. Cases take turns, round by round; the table has the medians.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.nginx_traffic import clean_bytes
from tests.support.c_icap import CIcap
from tests.support.icapd import Icapd
from tests.support.nginx import Nginx
from tests.support.process import find_program

ROUNDS = 5
SECONDS = 3
BODY_BYTES = 10_000
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(url: str, connections: int) -> tuple[float, float]:
    """Median milliseconds, and requests a second."""
    program = find_program("wrk", "wrk")
    argv = [
        program,
        "--threads",
        "1",
        "--connections",
        str(connections),
        "--duration",
        f"{SECONDS}s",
        "--latency",
        url,
    ]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if "Non-2xx" in text or "Socket errors" in text or median is None or rate is None:
        raise RuntimeError(text)
    return float(median[1]) * UNITS[median[2]], float(rate[1])


def main() -> int:
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        icapd = running.enter_context(Icapd(directory / "icapd", {"server": {"fronts": 2}, "scanners": {"count": 4}}))
        c_icap = running.enter_context(CIcap())

        def start(name: str, service: str) -> Nginx:
            nginx = Nginx(directory / name, reqmod=service, respmod=service, origin_port=1)
            (nginx.files / "small").write_bytes(clean_bytes(BODY_BYTES))
            return running.enter_context(nginx)

        scanning = start("scanning", icapd.url("/respmod"))
        cases = {
            "the inner server over its socket, nothing scanned": scanning.url("/plain/small"),
            "icapd, verdict remembered": scanning.url("/files/small"),
            "icapd's `/echo`": start("echo", icapd.url("/echo")).url("/files/small"),
            "c-icap's `echo`": start("c-icap", c_icap.url).url("/files/small"),
        }
        results: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
        for _ in range(ROUNDS):
            for case, url in cases.items():
                results[case].append((wrk(url, 1)[0], wrk(url, 32)[1]))

    print("| | median, 1 connection | requests/s, 32 connections |\n|---|---|---|")
    for case, found in results.items():
        medians, rates = zip(*found, strict=True)
        print(f"| {case} | {statistics.median(medians):.2f} ms | {statistics.median(rates):,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
