"""`python -m bench`: arguments, the order of things, and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.corpus import make_corpus
from bench.measure import CASES, CONNECTIONS, Case, Load, measure
from bench.memory import Memory, read_memory
from bench.programs import ROOT, BenchError, Programs, find_programs
from bench.report import Results, Run, Setting, faults, render, replace_section
from bench.servers import run_c_icap, run_icapd
from icapd import __version__

MADE = ROOT / ".bench"
DOCUMENT = ROOT / "docs" / "performance.md"


def main() -> int:
    """Returns: 0; 1 when icapd gave a wrong verdict or an error, or the benchmark could not run."""
    options = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the servers end with us
    try:
        results = _measure_all(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    (MADE / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    print(f"\n{render(results)}")
    if found := faults(results.cases):
        print("", *found, sep="\n", file=sys.stderr)
        return 1
    if options.write:
        DOCUMENT.write_text(replace_section(DOCUMENT.read_text(), render(results)))
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="icapd beside c-icap, in turn.")
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each server in each case (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run, after its warm-up (default: 4)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("needs one round or more, of more than 0 seconds")
    if options.write and set(options.cases) != set(names):
        parser.error("--write needs every case")
    return options


def _measure_all(options: argparse.Namespace) -> Results:
    """Raises: BenchError."""
    MADE.mkdir(exist_ok=True)
    programs = find_programs(MADE)
    setting = _describe(options, programs)
    print(f"{setting.cores} cores, {setting.cpu}; {setting.versions}; load {setting.load_before:.1f} before")
    make_corpus(MADE / "corpus")
    load = Load(programs.loader, MADE / "corpus", options.seconds, options.rounds)
    memory: dict[int, Memory] = {}
    with contextlib.ExitStack() as servers:
        # Not in .bench: the servers' own users may not be able to reach the place of this tree.
        state = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="icapd-bench-")))
        state.chmod(0o755)
        c_icap = servers.enter_context(run_c_icap(programs, state, MADE))
        icapd = servers.enter_context(run_icapd(state, MADE))

        def on_run(case: Case, server: str, run: Run) -> None:
            print(f"{case.name:8} {server:7} {run.req_s:9,.0f} requests/s  p99 {run.p99_ms:7.1f} ms", flush=True)
            memory.update((process.pid, process) for process in read_memory(icapd.pid))

        cases = [measure(case, load, c_icap, icapd, on_run) for case in CASES if case.name in options.cases]
    return Results(setting, cases, list(memory.values()))


def _describe(options: argparse.Namespace, programs: Programs) -> Setting:
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    words = ["python -m bench", f"--rounds {options.rounds}", f"--seconds {options.seconds:g}"]
    if len(options.cases) < len(CASES):
        words.append(f"--cases {' '.join(options.cases)}")
    versions = (
        f"icapd {__version__} on {platform.python_implementation()} {platform.python_version()}",
        f"c-icap {_ask_version(programs.c_icap, '-V')} with {_ask_version(programs.clamd, '--version')}",
        f"{CONNECTIONS} connections",
    )
    return Setting(
        " ".join(words),
        cpu[1] if cpu else platform.machine(),
        len(os.sched_getaffinity(0)),
        ", ".join(versions),
        os.getloadavg()[0],
    )


def _ask_version(program: str, option: str) -> str:
    asked = subprocess.run([program, option], capture_output=True, text=True, check=False)
    return (asked.stdout or asked.stderr).strip().partition("\n")[0].partition("/")[0]


if __name__ == "__main__":
    sys.exit(main())
