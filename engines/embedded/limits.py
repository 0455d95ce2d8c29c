"""The options of the engine for embedded content."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from icapd.scan.engine_api import EngineOptions

PARTS: Final = "embedded.max_parts"
NESTING: Final = "embedded.max_nesting"
HEADER_BYTES: Final = "embedded.max_header_bytes"
NAME_BYTES: Final = "embedded.max_name_bytes"


class EmbeddedOptions(EngineOptions):
    max_parts: int = Field(1_000, ge=1, le=1_000_000, description="parts of one mail or multipart body")
    max_nesting: int = Field(16, ge=1, le=64, description="multiparts inside multiparts of one message")
    max_header_bytes: int = Field(65_536, ge=1_024, description="headers of one message or part")
    max_name_bytes: int = Field(4_096, ge=16, le=0xFFFF, description="the name of a part or attachment")
    min_base64_bytes: int = Field(
        512, ge=64, le=65_536, description="base64 in text, and what data: URLs hold, is decoded from this length on"
    )
