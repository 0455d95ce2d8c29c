"""Servers that tests of this folder share; each scans with the rule for the test file alone, to be up quickly."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.messages import KIB, MIB
from tests.support.icapd import Icapd, merged
from tests.support.ports import LOOPBACK, free_port

EICAR_RULE = Path(__file__).parents[2] / "conf" / "rules" / "eicar.yar"
LISTED = b"content on the deny list"
LISTED_NAME = "Bad; Na\u00efve  Thing\tX-Evil: 1"

HOST_RULES = [
    {"name": "blocked-host", "when": {"host": "blocked.example"}, "action": "block", "reason": "Not <here>."},
    {"name": "trusted-host", "when": {"host": "trusted.example"}, "action": "allow"},
]


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tables that leave one YARA rule and one listed digest."""
    folder = tmp_path_factory.mktemp("rules")
    shutil.copy(EICAR_RULE, folder)
    listed = folder / "deny.txt"
    listed.write_text(f"{hashlib.sha256(LISTED).hexdigest()} {LISTED_NAME}\n")
    return {"engines": {"yara": {"rules": [str(folder)]}, "hashes": {"deny": [str(listed)]}}}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    """One front with the default time-outs; bodies leave memory early."""
    folder = tmp_path_factory.mktemp("server")
    tables = {
        "spool": {"memory_bytes": 64 * KIB, "memfd_bytes": 1 * MIB, "directory": str(folder)},
        "service": [
            {"path": "/respmod", "methods": ["RESPMOD"], "profile": "squid"},
            {"path": "/reqmod", "methods": ["REQMOD"], "preview_bytes": 1024},
            {"path": "/both", "aliases": ["/alias"], "preview_bytes": 0},
            {"path": "/echo", "scan": False, "preview_bytes": 1024},
            {"path": "/small", "max_body_bytes": 100_000},
            {"path": "/small-open", "max_body_bytes": 100_000, "policy": "open"},
            {"path": "/undripped", "drip_on_stall": False},
        ],
        "policy": HOST_RULES,
    }
    with Icapd(folder, merged(engines, tables)) as running:
        yield running


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    """Short time-outs, few connections, little to discard."""
    tables = {
        "server": {"max_connections": 4},
        "timeouts": {
            "head_s": 0.5,
            "body_idle_s": 0.5,
            "body_total_s": 3.0,
            "scan_s": 1.5,
            "scan_grace_s": 0.1,
            "idle_s": 0.5,
            "write_idle_s": 0.5,
            "drain_s": 0.5,
        },
        "limits": {"discard_bytes": 1 * MIB},
        "service": [
            {"path": "/respmod", "methods": ["RESPMOD"]},
            {"path": "/avscan"},
            {"path": "/open", "policy": "open"},
            {"path": "/echo", "scan": False},
        ],
        "policy": HOST_RULES,
    }
    with Icapd(tmp_path_factory.mktemp("hasty"), merged(engines, tables)) as running:
        yield running


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, engines: dict[str, Any]) -> Iterator[Icapd]:
    """Two fronts, a Unix socket beside TCP, base64 user names, and few addresses that may connect."""
    folder = tmp_path_factory.mktemp("pair")
    port = free_port()
    tables = {
        "server": {
            "fronts": 2,
            "listen": [f"icap://{LOOPBACK}:{port}", unix_listener(folder)],
            "allow_clients": ["127.0.0.1/32", "::1/128"],
            "user_encoding": "base64",
        },
        "policy": HOST_RULES,
    }
    with Icapd(folder, merged(engines, tables)) as running:
        running.port = port
        yield running


def unix_listener(folder: Path) -> str:
    return f"unix:{folder / 'icap.sock'}"
