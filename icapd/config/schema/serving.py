"""Where icapd listens, what it takes from a client, and how long it waits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from icapd.config.address import parse_admin, parse_listen
from icapd.config.schema.base import Auto, KiB, MiB, Network, Table
from icapd.config.schema.zones import time_zone


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _zone(text: str) -> str:
    time_zone(text)
    return text


def _admin(text: str) -> str:
    parse_admin(text)
    return text


UserEncoding = Literal["plain", "base64"]
PolicyName = Literal["strict", "balanced", "open", "custom"]


class Server(Table):
    listen: list[Annotated[str, AfterValidator(_listen)]] = Field(
        ["icap://127.0.0.1:1344"],
        min_length=1,
        description="where ICAP clients connect: icap://HOST:PORT or unix:/PATH",
    )
    admin: Annotated[str, AfterValidator(_admin)] = Field(
        "http://127.0.0.1:9344", description="metrics and health over HTTP; keep it off public networks"
    )
    fronts: Auto | Annotated[int, Field(ge=1, le=64)] = Field(
        "auto",
        description="hold client connections; auto = a quarter of the cores, at least 2 of 2",
    )
    max_connections: int = Field(
        12_000, ge=1, description="client connections over all fronts; more are told so (ICAP 503) and closed"
    )
    allow_clients: list[Network] = Field(
        ["127.0.0.0/8", "::1/128"],
        description="networks that may connect; others are closed without an answer",
    )
    user_encoding: UserEncoding = Field(
        "plain", description="of user and group headers; for users Squid's icap_client_username_encode"
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="of time and weekday in rules: UTC, or a name as Europe/Berlin"
    )
    watch_rules: bool = Field(
        False, description="reload by itself when a rule file or list that an enabled engine reads has changed"
    )
    policy: PolicyName = Field(
        "balanced",
        description="the shipped policy that follows your own [[policy]] rules; custom = your rules only",
    )


class Limits(Table):
    head_bytes: int = Field(64 * KiB, ge=1 * KiB, le=1 * MiB, description="one ICAP head")
    http_head_bytes: int = Field(
        256 * KiB,
        ge=1 * KiB,
        le=16 * MiB,
        description="each encapsulated HTTP head, past it ICAP 400; Squid itself refuses heads past 64 KiB",
    )
    header_count: int = Field(200, ge=10, le=10_000, description="header lines of one ICAP head")
    chunk_line_bytes: int = Field(4 * KiB, ge=64, le=64 * KiB, description="a chunk-size line with its extensions")
    trailer_bytes: int = Field(16 * KiB, ge=0, le=1 * MiB, description="all HTTP trailers of one body")
    body_bytes: int = Field(1024 * MiB, ge=1, description="one body, whatever the service allows")
    pipelined_bytes: int = Field(
        64 * KiB, ge=1 * KiB, le=16 * MiB, description="bytes of later requests kept while one is answered"
    )
    discard_bytes: int = Field(
        64 * MiB,
        ge=0,
        description="body bytes read and dropped after an early answer, then the connection closes",
    )


class Timeouts(Table):
    head_s: float = Field(
        10.0, gt=0, le=3600, description="from connecting, later from a request's first byte, to the end of its head"
    )
    body_idle_s: float = Field(30.0, gt=0, le=3600, description="without a byte in the middle of a body")
    body_total_s: float = Field(3600.0, gt=0, le=86_400, description="one whole body; long polling takes its time")
    scan_s: float = Field(25.0, gt=0, le=3600, description="from the last byte of a body to the answer's first")
    scan_grace_s: float = Field(
        0.5, ge=0, le=60, description="after an engine's deadline until its scanner is killed"
    )
    idle_s: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="a kept-alive connection without a request; longer than the client's own",
    )
    write_idle_s: float = Field(60.0, gt=0, le=3600, description="a client that takes no byte of its answer")
    drain_s: float = Field(
        5.0, gt=0, le=600, description="reading on after an early answer before the connection closes"
    )
    shutdown_s: float = Field(30.0, ge=0, le=3600, description="after SIGTERM until what is still running is cut off")
    reload_s: float = Field(
        120.0, gt=0, le=3600, description="a reload, from reading the files until every front has its new scanners"
    )
    front_silent_s: float = Field(
        15.0, ge=1, le=3600, description="a front process that does not react is killed and replaced"
    )
