"""What the supervisor tells each front: the whole configuration as it was when the server started.

A front that is respawned gets the same plan, whatever has happened to the files since.
"""

from __future__ import annotations

import msgspec

from icapd.config.schema import Settings


class Plan(msgspec.Struct, frozen=True):
    """`settings` is JSON; `pages` are template sources, "" the configured one; `required` names engines that must
    have judged a body for it to be CLEAN."""

    settings: bytes
    ruleset: str
    istag: str
    required: dict[str, bool]
    pages: dict[str, str]
    secret: bytes

    def read_settings(self) -> Settings:
        return Settings.model_validate_json(self.settings)


encode_plan = msgspec.msgpack.Encoder().encode
decode_plan = msgspec.msgpack.Decoder(Plan).decode


class Place(msgspec.Struct, frozen=True):
    """Which of how many fronts this is, and which descriptors it was given."""

    index: int
    of: int
    scanners: int
    control_fd: int
    plan_fd: int
    snapshot_fd: int
    access_fd: int
    listen: list[tuple[int, bool]]
    """Listening sockets: the descriptor, and whether it is a Unix socket."""


encode_place = msgspec.json.Encoder().encode
decode_place = msgspec.json.Decoder(Place).decode
