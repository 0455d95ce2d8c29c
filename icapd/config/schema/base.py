"""What every table of the configuration is made of."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict


class Table(BaseModel):
    """A TOML table: unknown keys are refused, nothing is converted ("5" is not 5), values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


Network = Annotated[str, AfterValidator(_network)]
Auto = Literal["auto"]
Text = str | list[str]
KiB = 1024
MiB = 1024 * 1024
