"""What processes do without: each start pays for what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("icapd.worker.front", {"OpenSSL", "cryptography", "numpy", "yara_x", "engines"}),
        ("icapd.service", {"OpenSSL", "cryptography", "numpy", "yara_x", "engines"}),
        ("icapd.worker.nursery", {"twisted", "jinja2", "icapd.config", "OpenSSL"}),
    ],
)
def test_what_is_not_imported(module: str, absent: set[str]) -> None:
    asked = f"import sys, {module}; print(*({absent!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_tls_is_there_for_those_who_ask() -> None:
    asked = "import icapd.reactor, OpenSSL; from twisted.protocols.tls import TLSMemoryBIOFactory"
    subprocess.run([sys.executable, "-c", asked], check=True, timeout=60)
