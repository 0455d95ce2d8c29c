"""The engine for PDF files: what they do when they are opened, and what is inside their streams.

It is an unpacker. `values` reads values, `document` finds objects by looking for their `marks`, `filters` and `crypt`
decode streams, `judge` walks over what tells something, `table` holds the signs and their weights, `contents` joins
what pages are drawn with. Nothing is ever run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as distribution_version
from pathlib import Path

from engines.pdf.limits import PdfOptions as PdfOptions
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, Unpacker

_TABLE_VERSION = "2"


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> Unpacker:
    from engines.pdf.unpacker import PdfUnpacker  # here: only who builds engines loads what parses bodies

    assert isinstance(options, PdfOptions)
    return PdfUnpacker(options)


def _version() -> str:
    packages = " ".join(f"{name} {distribution_version(name)}" for name in ("cryptography", "zlib-ng"))
    return f"{_TABLE_VERSION} {packages}"


SPEC = EngineSpec(name="pdf", options=PdfOptions, gather=_gather, build=_build, version=_version)
