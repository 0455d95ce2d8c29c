"""What another process does with the same directory: python -m tests.cache.other_process DIRECTORY DEED

`put NAME` stores a clean report and ends in order; `hold` stands still in the middle of a write; `use` has it open.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from icapd.cache.directory import close_store, open_store
from icapd.cache.record import Signer
from icapd.cache.store import Entry, Pending, entry_name
from tests.cache.samples import SECRET, cache_key, clean_report

MAX_BYTES = 16 * 1024 * 1024
DONE = b"done\n"


def begin(directory: Path, *deed: str) -> subprocess.Popen[bytes]:
    """The other process, once its deed is done or under way. Leave it by `with`."""
    command = [sys.executable, "-m", "tests.cache.other_process", str(directory), *deed]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == DONE
    return process


def pending(name: str, life_s: float = 600, generation: int = 0) -> Pending:
    """A clean report on its way to the store."""
    key = cache_key(name)
    expires_at_s = int(time.time() + life_s)
    record = Signer(SECRET).seal(key, clean_report(), expires_at_s)
    return Pending(entry_name(key), generation, Entry(expires_at_s, key.size_bytes, key.ruleset, key.coding, record))


def main(directory: Path, deed: str, *names: str) -> None:
    opened = open_store(directory, MAX_BYTES, print)
    store = opened.store
    if deed == "put":
        store.write([pending(name) for name in names])
    elif deed == "purge":
        store.purge()
    elif deed == "hold":
        txn = store._env.begin(write=True)
        store._put(txn, *pending("half-written")[::2])
    sys.stdout.buffer.write(DONE)
    sys.stdout.flush()
    if deed in ("hold", "use"):
        sys.stdin.read()
    close_store(directory, opened)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
