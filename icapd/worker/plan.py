"""What the supervisor tells each front: the whole configuration as it was when it was last read.

A front that is respawned gets the same plan, whatever has happened to the files since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from icapd.config.schema import HttpFiles, Settings
from icapd.plugins import EngineSnapshot
from icapd.scan.ruleset import with_versions
from icapd.worker.frames import Trial


class ShadowPlan(msgspec.Struct, frozen=True):
    """A configuration that is tried. `snapshot` is empty where its rules are those in force; `identity` stands for
    all that it decides by; `remote` names the engines that no scanner has."""

    identity: str
    settings: bytes
    ruleset: str
    required: dict[str, bool]
    remote: tuple[str, ...]
    snapshot: bytes

    def read_settings(self) -> Settings:
        return Settings.model_validate_json(self.settings)


class Plan(msgspec.Struct, frozen=True):
    """`settings` is JSON; `pages` are template sources, "" the configured one, and `languages` their words;
    `required` names engines that must have judged a body for it to be CLEAN; `remote` are the engines that fronts
    build. `ruleset` and `istag` are those without the versions of remote engines, which change while we run.
    `override_key` signs links past a rule and is empty where there are none."""

    settings: bytes
    ruleset: str
    istag: str
    required: dict[str, bool]
    pages: dict[str, str]
    secret: bytes
    languages: dict[str, dict[str, str]] = {}
    http: HttpFiles = HttpFiles()
    remote: tuple[EngineSnapshot, ...] = ()
    override_key: bytes = b""
    shadow: ShadowPlan | None = None

    def versions(self, known: Mapping[str, str]) -> dict[str, str]:
        """Those of this plan's remote engines; "" for one that was not reached yet."""
        return {engine.name: known.get(engine.name, "") for engine in self.remote}

    def istag_with(self, known: Mapping[str, str]) -> str:
        """The ISTag that clients are given, by the versions that are known."""
        return with_versions(self.istag, self.versions(known))

    def read_settings(self) -> Settings:
        return Settings.model_validate_json(self.settings)


encode_plan = msgspec.msgpack.Encoder().encode
decode_plan = msgspec.msgpack.Decoder(Plan).decode


@dataclass(frozen=True, slots=True)
class Edition:
    """A configuration that has passed its check, with its rules: what every front that starts is given.

    Owns its two descriptors. `scanners` are those of one front; `watched`, where the rules and lists were read from.
    """

    plan: Plan
    settings: Settings
    plan_fd: int
    snapshot_fd: int
    scanners: int
    trial: Trial
    watched: tuple[str, ...]

    def close(self) -> None:
        os.close(self.plan_fd)
        os.close(self.snapshot_fd)


class Place(msgspec.Struct, frozen=True):
    """Which of how many fronts this is, and which descriptors it was given."""

    index: int
    of: int
    scanners: int
    control_fd: int
    plan_fd: int
    snapshot_fd: int
    shared_fd: int
    """Memory in which all fronts remember the same."""
    access_fd: int
    listen: list[tuple[int, bool]]
    """Listening sockets: the descriptor, and whether it is a Unix socket."""
    versions: dict[str, str] = {}
    """Of remote engines, as far as they are known."""
    http: list[tuple[int, bool]] = []
    """Those of the HTTP listener: the descriptor, and whether TLS is spoken there."""


encode_place = msgspec.json.Encoder().encode
decode_place = msgspec.json.Decoder(Place).decode


class Origin(msgspec.Struct, frozen=True):
    """Where a configuration is read from, beside the environment: its file, and the keys set on the command line."""

    path: str | None
    overrides: dict[str, str]


class Order(msgspec.Struct, frozen=True):
    """What a candidate is to read, and what it is compared with: the plan in force, its rules and how they did.

    `version` is that of the server; a candidate runs what is installed now.
    """

    origin: Origin
    version: str
    control_fd: int
    plan_fd: int
    snapshot_fd: int
    scanners: int
    trial: Trial


encode_order = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(Order).decode
