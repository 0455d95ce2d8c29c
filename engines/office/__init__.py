"""The engine for office documents: compound files, Visual Basic, Excel 4 macros, parts of OOXML
and OpenDocument packages, RTF.

It is an unpacker: what it opens it judges as a whole, by tables of indicators that add up, and yields what is inside
as samples for all other engines. `unpacker` decides who reads a sample; `compound` and `ovba` read bytes, `vba_text`
makes source comparable, the tables (`vba_table`, `ole_table`, ...) hold the signs. Nothing is ever run, and nothing
that a file claims about itself is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as distribution_version
from pathlib import Path

from engines.office.limits import OfficeOptions as OfficeOptions
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, Unpacker

_TABLES_VERSION = "4"


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> Unpacker:
    from engines.office.unpacker import OfficeUnpacker  # here: only who builds engines loads what parses bodies

    assert isinstance(options, OfficeOptions)
    return OfficeUnpacker(options)


def _version() -> str:
    packages = " ".join(f"{name} {distribution_version(name)}" for name in ("olefile", "cryptography", "zlib-ng"))
    return f"{_TABLES_VERSION} {packages}"


SPEC = EngineSpec(name="office", options=OfficeOptions, gather=_gather, build=_build, version=_version)
