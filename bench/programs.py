"""What the benchmark runs beside icapd: Debian's c-icap and clamd, installed as root, and the load generator."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]

_LOADER_SOURCE: Final = Path(__file__).with_name("icapload.c")
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class BenchError(Exception):
    """The benchmark cannot go on; says what is missing or what failed."""


class Programs(NamedTuple):
    """Where the programs are."""

    c_icap: str
    c_icap_modules: Path
    clamd: str
    loader: Path


def find_programs(made: Path) -> Programs:
    """Installs what is missing when root, and builds the load generator in `made`. Raises: BenchError."""
    if missing := _missing_packages():
        _install(missing)
    c_icap, clamd, modules = _find("c-icap"), _find("clamd"), _modules()
    if c_icap is None or clamd is None or modules is None:
        raise BenchError(f"still missing after the installation: {' '.join(_missing_packages())}")
    return Programs(c_icap, modules, clamd, _build_loader(made))


def _find(program: str) -> str | None:
    return shutil.which(program, path=_PATH)  # Debian's users have no /usr/sbin in their path


def _modules() -> Path | None:
    """The folder of c-icap's modules, which Debian names after the architecture."""
    return next((module.parent for module in Path("/usr/lib").glob("*/c_icap/virus_scan.so")), None)


def _missing_packages() -> list[str]:
    is_there = {
        "c-icap": _find("c-icap"),
        "libc-icap-mod-virus-scan": _modules(),
        "clamav-daemon": _find("clamd"),
        "gcc": _find("gcc"),
        "libc6-dev": Path("/usr/include/stdio.h").exists(),
    }
    return [package for package, found in is_there.items() if not found]


def _install(packages: list[str]) -> None:
    """Raises: BenchError."""
    if os.geteuid() != 0 or _find("apt-get") is None:
        raise BenchError(
            "The benchmark needs programs that are not installed. Install them, then run it again:\n"
            f"    sudo apt-get update && sudo apt-get install --yes --no-install-recommends {' '.join(packages)}"
        )
    if subprocess.run([str(ROOT / "scripts" / "apt-install"), *packages], check=False).returncode:
        raise BenchError(f"apt could not install {' '.join(packages)}")


def _build_loader(made: Path) -> Path:
    """Raises: BenchError."""
    loader = made / "icapload"
    if not loader.exists() or loader.stat().st_mtime < _LOADER_SOURCE.stat().st_mtime:
        command = ["gcc", "-O2", "-Wall", "-o", str(loader), str(_LOADER_SOURCE), "-lm"]
        if subprocess.run(command, check=False).returncode:
            raise BenchError("the load generator does not compile")
    return loader
