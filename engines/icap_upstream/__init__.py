"""Another ICAP server as a remote engine: what it makes of a body in RESPMOD is one report of several.

Owns the options and the spec. `requests` writes what is asked, `exchange` speaks the protocol, `answers` says what
answers mean, `engine` puts them together. Bodies are asked about as of nobody: no client, no user, no URL but the
body's digest, as the verdict is remembered for the content alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from engines.icap_upstream.requests import parse_url
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, RemoteEngine, RemoteOptions


class IcapOptions(RemoteOptions):
    url: str = Field(
        "icap://127.0.0.1:11344/avscan",
        description="the service that is asked, icap://HOST:PORT/PATH; never one of this server that asks it in turn",
    )
    preview: bool = Field(
        True, description="send a preview first where the server wants one; it may answer without the rest"
    )
    max_bytes: int = Field(100 * 1024 * 1024, ge=1, description="larger bodies are not shown to the server")
    past_max_bytes: Literal["unscannable", "skip"] = Field(
        "unscannable", description="what a larger body is to this engine: UNSCANNABLE, or none of its business"
    )
    modified: Literal["malware", "suspicious", "info"] = Field(
        "suspicious", description="what a body is that the server changes or replaces without naming a threat"
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, text: str) -> str:
        parse_url(text)
        return text


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> RemoteEngine:
    # Imported where it runs: who only reads the options does without Twisted.
    from engines.icap_upstream.engine import IcapEngine

    assert isinstance(options, IcapOptions)
    return IcapEngine(options)


def _version() -> str:
    return "1"


SPEC = EngineSpec(name="icap", options=IcapOptions, gather=_gather, build=_build, version=_version, is_remote=True)
