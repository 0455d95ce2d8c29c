"""Shadow mode: a configuration that is tried on real traffic before it decides anything."""

from __future__ import annotations

from pydantic import Field

from icapd.config.schema.base import MiB, Table


class ShadowTable(Table):
    config: str | None = Field(
        None,
        examples=["next.toml"],
        description="a whole configuration file; its policy and engines are tried beside those in force, and change "
        "no answer; unset = no trial",
    )
    share: float = Field(0.05, gt=0, le=1, description="of transactions that are tried")
    scanners: int = Field(
        1,
        ge=0,
        le=64,
        description="processes of each front for its rules where they differ; 0 = try its policy alone",
    )
    queue_tasks: int = Field(
        16, ge=1, le=1024, description="bodies at once in each front; what more there is, is not"
    )
    max_body_bytes: int = Field(8 * MiB, ge=1, description="larger bodies are not tried")
