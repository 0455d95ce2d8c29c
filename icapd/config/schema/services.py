"""What clients ask for by path, and how answers are delivered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from icapd.config.schema.base import KiB, MiB, Network, Table
from icapd.config.schema.rules import When
from icapd.config.schema.serving import PolicyName, UserEncoding

Method = Literal["REQMOD", "RESPMOD"]
DeliveryMode = Literal["auto", "hold", "trickle", "stream", "skip"]
ProfileName = Literal["squid", "nginx", "rspamd", "nextcloud", "g3proxy", "generic"]


class Service(Table):
    path: str = Field(pattern=r"^/[A-Za-z0-9._~/-]*$", description="the path clients ask for")
    aliases: list[Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]] = Field(
        [], description="other paths for the same service"
    )
    methods: list[Method] = Field(["REQMOD", "RESPMOD"], min_length=1, description="REQMOD, RESPMOD or both")
    profile: ProfileName = Field(
        "generic", description="what kind of client asks, where no [[client]] says it: see docs/clients.md"
    )
    user_encoding: UserEncoding | None = Field(
        None, examples=["base64"], description="of user and group headers; unset = server.user_encoding"
    )
    scan: bool = Field(True, description="false: bodies go back unscanned, and every answer says NOT_SCANNED")
    preview_bytes: int | None = Field(
        None,
        ge=0,
        le=64 * KiB,
        examples=[1024],
        description="offered in OPTIONS; unset = no preview, which Squid before 6.14 needs for RESPMOD",
    )
    max_body_bytes: int | None = Field(
        None, ge=1, examples=[100 * MiB], description="this service's ceiling; unset = limits.body_bytes"
    )
    options_ttl_s: int = Field(60, ge=1, le=86_400, description="how long clients may keep our OPTIONS answer")
    engines: list[str] | None = Field(
        None, examples=[["yara"]], description="only these engines; unset = all that are enabled"
    )
    policy: PolicyName | None = Field(None, examples=["strict"], description="unset = server.policy")
    drip_on_stall: bool | None = Field(
        None,
        examples=[False],
        description="unset = delivery.drip_on_stall for the profiles squid and generic, else false",
    )
    strip_range: bool | None = Field(
        None,
        examples=[True],
        description="REQMOD: removes Range and If-Range, so that the whole is judged; unset = true with the "
        "policy strict, which blocks parts",
    )
    delivery: DeliveryMode | None = Field(None, examples=["hold"], description="unset = delivery.mode")


class Client(Table):
    networks: list[Network] = Field(
        min_length=1, examples=[["192.0.2.0/24"]], description="addresses from which ICAP clients connect"
    )
    profile: ProfileName = Field(examples=["nginx"], description="what kind of client connects from there")
    user_encoding: UserEncoding | None = Field(
        None, examples=["base64"], description="of its user and group headers; unset = the service's"
    )


SERVICES: list[dict[str, Any]] = [
    {
        "path": "/respmod",
        "aliases": ["/SYMCScanResp-AV", "/OMSScanResp-AV"],
        "methods": ["RESPMOD"],
        "profile": "squid",
    },
    {
        "path": "/reqmod",
        "aliases": ["/SYMCScanReq-AV", "/OMSScanReq-AV"],
        "methods": ["REQMOD"],
        "profile": "squid",
        "preview_bytes": 1024,
    },
    {"path": "/scan", "aliases": ["/srv_clamav", "/virus_scan", "/squidclamav"]},
    {"path": "/avscan", "profile": "nextcloud"},
    {"path": "/echo", "scan": False, "preview_bytes": 1024},
]


class DeliveryRule(Table):
    when: When = Field(When(), description="conditions on the heads; all must hold; declared types and sizes count")
    mode: DeliveryMode = Field(examples=["stream"], description="as delivery.mode")


class Delivery(Table):
    mode: DeliveryMode = Field(
        "auto",
        description="of a body before its verdict; hold: nothing goes back; trickle: after a while a few bytes; "
        "stream: all but its end; skip: it is not judged; auto: by size, type and profile",
    )
    rule: list[DeliveryRule] = Field([], description="modes for some messages; the first that holds counts")
    stream_types: list[str] = Field(
        ["text/event-stream", "multipart/x-mixed-replace", "audio/*", "video/*"],
        description="auto, profile squid: responses of these declared types and of no announced length are streamed",
    )
    hold_back_bytes: int = Field(
        64 * KiB, ge=1, le=64 * MiB, description="the end of a body, which never goes before the verdict"
    )
    trickle_after_s: float = Field(10.0, ge=0.01, le=600, description="from its first bytes on until a body trickles")
    trickle_interval_s: float = Field(5.0, ge=0.01, le=600, description="between one trickle and the next")
    trickle_bytes: int = Field(512, ge=1, le=64 * KiB, description="of the body, each time")
    trickle_over_bytes: int = Field(
        1 * MiB, ge=0, description="auto, profile squid: a body of this size trickles; smaller ones get the page"
    )
    drip_on_stall: bool = Field(
        True,
        description="RESPMOD: a client that stalls in mid-body gets one body byte; Squid before 6.14 hangs without",
    )
    stall_s: float = Field(0.05, ge=0.005, le=10, description="without a byte in mid-body: a stall")
    stall_after_bytes: int = Field(
        60_000, ge=1, description="a stall before this much of the body is no stall of Squid's"
    )
    drip_bytes: int = Field(
        32,
        ge=1,
        le=64,
        description="dripped from one body at most, and one more for each MiB of it; within one stall each waits "
        "twice as long as the last",
    )
    broken_url_ttl_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="after a hit behind a drip: how long the same URL gets the block page at once",
    )
