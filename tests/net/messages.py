"""What the tests of this folder send, and how they look at a running server's processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.icap_client import Request
from tests.support.icapd import Icapd

KIB = 1024
MIB = 1024 * 1024


def text(size_bytes: int, seed: object = "") -> bytes:
    """Harmless text of a size, another one for each seed, so that no cache has seen it."""
    line = f"The quick brown fox {seed} jumps over the lazy dog.\n".encode()
    return (line * (size_bytes // len(line) + 1))[:size_bytes]


def get(url: str = "http://site.example/page", method: str = "GET", *lines: str) -> bytes:
    """The head of an HTTP request as Squid encapsulates it."""
    host = url.partition("//")[2].partition("/")[0]
    return "\r\n".join([f"{method} {url} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def ok(body: bytes | None = b"", *lines: str, media_type: str = "text/plain") -> bytes:
    """The head of an HTTP response with this body."""
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = ["HTTP/1.1 200 OK", f"Content-Type: {media_type}", *length, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def respmod(
    body: bytes | None, service: str = "/respmod", url: str = "http://site.example/page", **more: Any
) -> Request:
    """A response on its way to a browser."""
    return Request("RESPMOD", service, get(url), ok(body), body, **more)


def reqmod(
    body: bytes | None, service: str = "/reqmod", url: str = "http://site.example/page", **more: Any
) -> Request:
    """An upload, or without a body a page asked for."""
    if body is None:
        return Request("REQMOD", service, get(url), **more)
    return Request("REQMOD", service, get(url, "POST", f"Content-Length: {len(body)}"), b"", body, **more)


def children(pid: int, module: str = "") -> list[int]:
    """The child processes of a process that run this module."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                command = status.with_name("cmdline").read_bytes().decode()
                found += [int(status.parent.name)] if module in command else []
    return sorted(found)


def fronts(server: Icapd) -> list[int]:
    return children(server.child.pid, "icapd.worker.front")


def scanners(server: Icapd) -> list[int]:
    """All scanner processes: the forks of each front's nursery."""
    nurseries = [pid for front in fronts(server) for pid in children(front, "icapd.worker.nursery")]
    return [pid for nursery in nurseries for pid in children(nursery)]


@contextlib.contextmanager
def halted_scanners(server: Icapd) -> Iterator[None]:
    """No scan ends while this lasts."""
    halted = scanners(server)
    assert halted
    for pid in halted:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in halted:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def resident_bytes(pid: int) -> int:
    """The process's own memory in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * KIB
