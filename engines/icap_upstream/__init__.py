"""Another ICAP server as a remote engine: what it makes of a body in RESPMOD is one report of several.

Owns the options and the spec. `requests` writes what is asked, `tls` knows whom to trust, `exchange` speaks the
protocol, `answers` says what answers mean, `engine` puts them together. Bodies are asked about as of nobody: no
client, no user, no URL but the body's digest, as the verdict is remembered for the content alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator

from engines.icap_upstream.requests import parse_url
from icapd.scan.engine_api import (
    ConfigurationError,
    EngineOptions,
    EngineSpec,
    Material,
    Problem,
    RemoteEngine,
    RemoteOptions,
    open_regular,
)

CA: Final = "ca_file"
"""The material that is in that file."""


class IcapOptions(RemoteOptions):
    url: str = Field(
        "icap://127.0.0.1:11344/avscan",
        description="the service that is asked, icap://HOST:PORT/PATH, or icaps:// for TLS; never one of this server"
        " that asks it in turn",
    )
    ca_file: str | None = Field(
        None,
        examples=["tls/ca.pem"],
        description="icaps: certificates (PEM) of who may have signed the server's; unset = whom the system trusts",
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
    assert isinstance(options, IcapOptions)
    if options.ca_file is None:
        return {}
    from engines.icap_upstream.tls import certificates_in

    try:
        with open_regular(resolve(options.ca_file)) as file:
            pem = file.read()
        certificates_in(pem)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else f"has no certificates in PEM: {error}"
        raise ConfigurationError([Problem(options.ca_file, what or "cannot be read")]) from error
    return {CA: pem}


def _build(options: EngineOptions, material: Material) -> RemoteEngine:
    # Imported where it runs: who only reads the options does without Twisted.
    from engines.icap_upstream.engine import IcapEngine

    assert isinstance(options, IcapOptions)
    return IcapEngine(options, material.get(CA))


def _version() -> str:
    return "1"


SPEC = EngineSpec(name="icap", options=IcapOptions, gather=_gather, build=_build, version=_version, is_remote=True)
