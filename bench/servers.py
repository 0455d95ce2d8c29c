"""Both servers, started on free loopback ports and ended with the block that started them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.programs import BenchError, Programs
from bench.signatures import write_clamd_database, write_yara_rules

LOOPBACK: Final = "127.0.0.1"

_TEMPLATES: Final = Path(__file__).with_name("peers")
_START_S: Final = 60.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.05
_LOG_TAIL_CHARACTERS: Final = 2000


class Server(NamedTuple):
    """A server that is ready."""

    name: str
    pid: int
    port: int


@contextlib.contextmanager
def run_c_icap(programs: Programs, state: Path, logs: Path) -> Iterator[Server]:
    """c-icap as Debian ships it, with clamd behind it.

    Args:
        state: an empty folder that the users c-icap and clamav can reach.
    """
    database, clamd_folder, folder = state / "database", state / "clamd", state / "c-icap"
    for made in (database, clamd_folder, folder / "tmp"):
        made.mkdir(parents=True)
    write_clamd_database(database)
    clamd_socket = clamd_folder / "clamd.sock"
    values = {"CLAMD_SOCKET": clamd_socket, "DATABASE": database}
    clamd_values = {**values, "IDENTITY": _identity("User clamav", "clamav", clamd_folder)}
    clamd_file = _fill_in("clamd.conf", clamd_values, state)
    (port,) = _free_ports(1)
    c_icap_values = {
        **values,
        "STATE": folder,
        "PORT": port,
        "MODULES": programs.c_icap_modules,
        "IDENTITY": _identity("User c-icap\nGroup c-icap", "c-icap", folder, folder / "tmp"),
    }
    c_icap_file = _fill_in("c-icap.conf", c_icap_values, state)
    with (
        _running(
            [programs.clamd, "--foreground", "-c", str(clamd_file)], logs / "clamd.log", lambda: _pongs(clamd_socket)
        ),
        _running([programs.c_icap, "-N", "-f", str(c_icap_file)], logs / "c-icap.log", lambda: _accepts(port)) as pid,
    ):
        yield Server("c-icap", pid, port)


@contextlib.contextmanager
def run_icapd(state: Path, logs: Path) -> Iterator[Server]:
    """`icapd serve` at its defaults, with synthetic rules beside the shipped ones, and its access log in a file."""
    rules, file, access = state / "synthetic.yar", state / "icapd.toml", logs / "access.log"
    write_yara_rules(rules)
    access.unlink(missing_ok=True)
    port, admin_port = _free_ports(2)
    admin = f"http://{LOOPBACK}:{admin_port}"
    # JSON's strings, and lists of them, are TOML's too.
    file.write_text(
        f"[server]\nlisten = {json.dumps([f'icap://{LOOPBACK}:{port}'])}\nadmin = {json.dumps(admin)}\n"
        f"[engines.yara]\nrules = {json.dumps(['conf/rules', str(rules)])}\n"
        f"[log]\naccess = {json.dumps(str(access))}\n"
    )
    command = [sys.executable, "-m", "icapd", "serve", "--config", str(file)]
    with _running(command, logs / "icapd.log", lambda: _is_ready(f"{admin}/readyz")) as pid:
        yield Server("icapd", pid, port)


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path, is_ready: Callable[[], bool]) -> Iterator[int]:
    """Yields: the process id, once it is ready. Raises: BenchError, with the end of its log, when it never is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ICAPD_")}
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us alone, and we end it in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + _START_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > give_up:
                tail = log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
                raise BenchError(f"{log.stem} did not become ready:\n{tail}")
            time.sleep(_POLL_S)
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _identity(directives: str, user: str, *folders: Path) -> str:
    """Started by root, a server becomes its own user, and owns its folders; otherwise it stays what we are."""
    if os.geteuid() != 0:
        return ""
    for folder in folders:
        shutil.chown(folder, user, user)
    return directives


def _fill_in(template: str, values: dict[str, object], folder: Path) -> Path:
    content = (_TEMPLATES / template).read_text()
    for name, value in values.items():
        content = content.replace(f"@{name}@", str(value))
    path = folder / template
    path.write_text(content)
    return path


def _free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on: all are taken before any is given back."""
    with contextlib.ExitStack() as taken:
        probes = [taken.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def _pongs(path: Path) -> bool:
    """clamd has read its database."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(b"zPING\0")
            return client.recv(16) == b"PONG\0"
    except OSError:
        return False


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own URL, on loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
