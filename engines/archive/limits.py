"""The options of the archive engine: what one body may unpack to."""

from __future__ import annotations

from pydantic import Field

from icapd.scan.engine_api import EngineOptions

MiB = 1024 * 1024


class ArchiveOptions(EngineOptions):
    max_members: int = Field(10_000, ge=1, le=1_000_000, description="members of one body over all its levels")
    max_unpacked_bytes: int = Field(512 * MiB, ge=1, description="unpacked bytes of one body over all its levels")
    max_held_bytes: int = Field(
        184 * MiB,
        ge=1,
        description="members in a scanner's memory at one time, each inside the other, with what unpacks them",
    )
    max_member_bytes: int = Field(128 * MiB, ge=1, description="one member; of a larger one its beginning is scanned")
    max_depth: int = Field(8, ge=1, le=32, description="containers inside containers")
    max_ratio: int = Field(
        200, ge=2, le=100_000, description="unpacked bytes for each packed byte, once 8 MiB have come out"
    )
    max_name_bytes: int = Field(
        4096, ge=16, le=0xFFFF, description="the name of a member, with its folders, as the archive has it"
    )
    passwords: list[str] = Field(
        [], max_length=32, description="tried on encrypted members of ZIP and 7z archives, in this order"
    )
