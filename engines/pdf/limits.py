"""The options of the PDF engine."""

from __future__ import annotations

from pydantic import Field, model_validator

from icapd.scan.engine_api import EngineOptions
from icapd.scan.indicators import Thresholds

MiB = 1024 * 1024


class PdfOptions(EngineOptions):
    suspicious_score: int = Field(
        40, ge=1, le=10_000, description="the weights of a document's indicators from which on it is suspicious"
    )
    malicious_score: int = Field(
        100,
        ge=1,
        le=10_000,
        description="the same for malicious, if an indicator or combination of severity high is among them; weights"
        " stand in docs/indicators.md",
    )
    max_stream_bytes: int = Field(
        64 * MiB, ge=1024, description="one stream, unpacked; of a larger one its beginning is scanned"
    )

    passwords: list[str] = Field([], max_length=32, description="tried on encrypted documents, after the empty one")

    @model_validator(mode="after")
    def _are_in_order(self) -> PdfOptions:
        if self.malicious_score < self.suspicious_score:
            raise ValueError("malicious_score is below suspicious_score")
        return self

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.suspicious_score, self.malicious_score)
