"""Looks through a database whose last user did not close it.

    python -m icapd.cache.verified rest|use DIRECTORY MAX_BYTES

A process of its own, as LMDB may end one that reads a damaged file. `rest`: nobody has it open, and every page is
checked without LMDB. `use`: others write meanwhile, so every entry is read through LMDB, in one snapshot.

Exit status 0: sound. Otherwise the fault is on standard output, or there was a signal.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lmdb
import lmdb.verify

LOOK_S = 60
"""A database of 256 MB takes 1.2 s at rest and 0.2 s in use."""


def fault_of(directory: Path, max_bytes: int, *, in_use: bool) -> str | None:
    """What is wrong with the database, or None. Blocks; for a thread."""
    command = [
        sys.executable,
        "-P",  # the working folder is no place for modules
        "-m",
        "icapd.cache.verified",
        "use" if in_use else "rest",
        str(directory),
        str(max_bytes),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LOOK_S, check=False)
    except subprocess.TimeoutExpired:
        return f"looking through it took longer than {LOOK_S} s"
    if done.returncode == 0:
        return None
    said = done.stdout.decode("utf-8", "replace").strip()
    return said[:200] or f"looking through it ended with status {done.returncode}"


def _at_rest(directory: str, max_bytes: int) -> str | None:
    try:
        faults = lmdb.verify.verify(directory)
    except lmdb.verify.VerifyError as error:
        return str(error)
    return faults[0] if faults else None


def _in_use(directory: str, max_bytes: int) -> str | None:
    try:
        with lmdb.open(directory, map_size=max_bytes, readonly=True, max_dbs=3) as env:
            databases = [env.open_db(name, create=False) for name in (b"records", b"ages", b"meta")]
            with env.begin() as txn:
                for database in databases:
                    for _ in txn.cursor(db=database):
                        pass
    except lmdb.Error as error:
        return str(error)
    return None


def main(arguments: list[str]) -> int:
    how, directory, max_bytes = arguments
    fault = (_in_use if how == "use" else _at_rest)(directory, int(max_bytes))
    if fault is None:
        return 0
    print(fault)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
