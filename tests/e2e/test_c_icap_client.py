"""c-icap's own client asks icapd: both methods, with and without previews and 204."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.support.eicar import EICAR
from tests.support.icapd import Icapd
from tests.support.ports import LOOPBACK
from tests.support.process import find_program

MIB = 1024 * 1024
SIZES = [1, 1023, 1024, 1025, 64 * 1024, 5 * MIB]
URL = "http://site.example/file"


def ask(icapd: Icapd, service: str, *options: str) -> str:
    """Everything the client prints."""
    program = find_program("c-icap-client", "c-icap")
    argv = [program, "-i", LOOPBACK, "-p", str(icapd.port), "-s", service, "-v", *options]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return tmp_path / "sent"


@pytest.mark.parametrize(("service", "preview"), [("respmod", None), ("reqmod", "1024"), ("echo", "1024")])
def test_it_reads_our_options(icapd: Icapd, service: str, preview: str | None) -> None:
    printed = ask(icapd, service)
    assert "Allow 204: Yes" in printed
    assert ("Preview: 1024" in printed) == (preview is not None)


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("options", [(), ("-nopreview",), ("-w", "100")], ids=["preview", "no preview", "100"])
@pytest.mark.parametrize("vector", ["-req", "-resp"])
def test_clean_files_pass(icapd: Icapd, sent: Path, size_bytes: int, options: tuple[str, ...], vector: str) -> None:
    sent.write_bytes(random.Random(f"{size_bytes}{options}{vector}").randbytes(size_bytes))
    printed = ask(icapd, "scan", "-f", str(sent), vector, URL, *options)
    assert "No modification needed" in printed or "ICAP/1.0 204" in printed


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("vector", ["-req", "-resp"])
def test_without_204_the_same_bytes_come_back(
    icapd: Icapd, sent: Path, tmp_path: Path, size_bytes: int, vector: str
) -> None:
    sent.write_bytes(random.Random(f"{size_bytes}{vector}").randbytes(size_bytes))
    got = tmp_path / "got"
    ask(icapd, "scan", "-f", str(sent), "-o", str(got), vector, URL, "-no204", "-nopreview")
    assert got.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("options", [(), ("-nopreview", "-no204")], ids=["preview", "neither"])
@pytest.mark.parametrize(("service", "vector"), [("scan", "-req"), ("scan", "-resp"), ("respmod", "-resp")])
def test_the_test_file_becomes_a_page(
    icapd: Icapd, sent: Path, tmp_path: Path, options: tuple[str, ...], service: str, vector: str
) -> None:
    sent.write_bytes(EICAR)
    got = tmp_path / "got"
    printed = ask(icapd, service, "-f", str(sent), "-o", str(got), vector, URL, *options)
    assert "ICAP/1.0 200 OK" in printed
    assert "X-Infection-Found: Type=0; Resolution=2; Threat=" in printed
    assert "403 Forbidden" in printed
    assert EICAR not in got.read_bytes()
