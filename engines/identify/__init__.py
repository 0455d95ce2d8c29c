"""The engine that says what bytes are, before any other engine looks.

`signatures` holds magic bytes, `containers` tells apart what shares them, `placed` knows formats that bear theirs
elsewhere or none, `text` knows markup and source code,
`identifier` puts them in order of cost and asks libmagic last. libmagic and its database come from the pylibmagic
wheel, so no system package is needed and every node judges by the same table.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version as distribution_version
from pathlib import Path

from pydantic import Field

from engines.identify.identifier import ContentIdentifier, Libmagic
from icapd.scan.engine_api import ConfigurationError, EngineOptions, EngineSpec, Material, Problem

_TABLE_VERSION = "3"


class IdentifyOptions(EngineOptions):
    libmagic: bool = Field(True, description="ask libmagic about binary data that the built-in table does not know")


def load_libmagic() -> Libmagic:
    """libmagic from the pylibmagic wheel.

    Raises: ConfigurationError when the library or its database cannot be loaded.
    """
    try:
        pylibmagic = import_module("pylibmagic")  # points python-magic at the wheel's library, so it comes first
        magic = import_module("magic")
    except (ImportError, OSError) as error:
        raise _unloadable(error) from error
    try:
        loaded: Libmagic = magic.Magic(mime=True, magic_file=str(pylibmagic.data.joinpath("magic.mgc")))
    except magic.MagicException as error:
        raise _unloadable(error) from error
    return loaded


def _unloadable(error: Exception) -> ConfigurationError:
    return ConfigurationError([Problem("engines.identify.libmagic", f"libmagic cannot be loaded: {error}")])


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> ContentIdentifier:
    wanted = isinstance(options, IdentifyOptions) and options.libmagic
    return ContentIdentifier(load_libmagic() if wanted else None)


def _version() -> str:
    return f"{_TABLE_VERSION}+pylibmagic-{distribution_version('pylibmagic')}"


SPEC = EngineSpec(name="identify", options=IdentifyOptions, gather=_gather, build=_build, version=_version)
