"""clamd as a remote engine: whole bodies, by descriptor over its Unix socket or as a stream over TCP.

Owns the options and the spec. `session` speaks the protocol, `replies` says what answers mean, `engine` puts both
together. What clamd does with a body (unpacking, limits, heuristics) is set in its own clamd.conf.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from icapd.config.address import parse_server
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, RemoteEngine, RemoteOptions

CLAMD_PORT = 3310
Weight = Literal["malware", "suspicious", "info"]


class ClamdOptions(RemoteOptions):
    address: str = Field(
        "unix:/run/clamav/clamd.ctl", description="where clamd listens: unix:/PATH or tcp://HOST:PORT"
    )
    transfer: Literal["descriptor", "stream"] = Field(
        "descriptor",
        description="how a body gets there by Unix socket: as an open file that clamd maps, or as bytes that clamd"
        " writes to a file first; AppArmor may keep clamd from the former; over TCP it is always a stream",
    )
    max_bytes: int = Field(
        25 * 1024 * 1024,
        ge=1,
        description="larger bodies are not shown to clamd; at most the least of its StreamMaxLength, MaxFileSize and"
        " MaxScanSize, as past the latter two it answers OK without a look (set AlertExceedsMax yes there for what"
        " archives contain)",
    )
    past_max_bytes: Literal["unscannable", "skip"] = Field(
        "unscannable", description="what a larger body is to this engine: UNSCANNABLE, or none of its business"
    )
    heuristics: Weight = Field("suspicious", description="what names that begin with Heuristics. are")
    unwanted: Weight = Field("suspicious", description="what names that begin with PUA. are")
    unofficial: Weight = Field("malware", description="what names that end with .UNOFFICIAL are")

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        parse_server(text, "tcp", CLAMD_PORT)
        return text


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> RemoteEngine:
    # Imported where it runs: who only reads the options does without Twisted.
    from engines.clamd.engine import ClamdEngine

    assert isinstance(options, ClamdOptions)
    return ClamdEngine(options)


def _version() -> str:
    return "1"


SPEC = EngineSpec(name="clamd", options=ClamdOptions, gather=_gather, build=_build, version=_version, is_remote=True)
