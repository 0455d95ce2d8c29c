"""Lists of file digests as an engine: known-bad bodies are malware, known-good ones are allowed.

Owns the options and the spec. `lists` reads the operator's files, `table` looks digests up, `engine` reports.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from icapd.scan.engine_api import Engine, EngineOptions, EngineSpec, Material


class HashesOptions(EngineOptions):
    deny: list[str] = Field(
        [],
        description="files of SHA-256, SHA-1 or MD5 digests of known malware, one a line, a name may follow;"
        " deny beats allow",
    )
    allow: list[str] = Field(
        [],
        description="files of digests of bodies and members to spare, with all that is inside them, whatever other"
        " engines find there; a container is not spared for its members; use SHA-256: anyone can make a file that"
        " shares its MD5 or SHA-1 with another of theirs, one harmless, one not",
    )


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    assert isinstance(options, HashesOptions)
    if not (options.deny or options.allow):
        return {}
    from engines.hashes.lists import read_lists  # here: numpy takes a tenth of a second to import

    return read_lists(
        deny=[resolve(entry) for entry in options.deny], allow=[resolve(entry) for entry in options.allow]
    )


def _build(options: EngineOptions, material: Material) -> Engine:
    from engines.hashes.engine import HashesEngine

    return HashesEngine(material, options.timeout_s)


def _version() -> str:
    return "1"


SPEC = EngineSpec(name="hashes", options=HashesOptions, gather=_gather, build=_build, version=_version)
