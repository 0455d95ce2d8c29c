"""Every configuration key, its default, its meaning and its bounds. Defaults live here and nowhere else.

`conf/icapd.toml` is generated from this module (`python -m icapd.config.render`), and a test keeps it so. What takes
more than one key to judge (other keys, files, policy) is checked in `icapd.config.checks`.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from icapd.config.address import parse_admin, parse_listen


class Table(BaseModel):
    """A TOML table: unknown keys are refused, nothing is converted ("5" is not 5), values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _admin(text: str) -> str:
    parse_admin(text)
    return text


Network = Annotated[str, AfterValidator(_network)]
Auto = Literal["auto"]
Method = Literal["REQMOD", "RESPMOD"]
PolicyName = Literal["strict", "balanced", "open", "custom"]
KiB = 1024
MiB = 1024 * 1024


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
        12_000, ge=1, description="client connections over all fronts; more are closed at once"
    )
    allow_clients: list[Network] = Field(
        ["127.0.0.0/8", "::1/128"],
        description="networks that may connect; others are closed without an answer",
    )
    user_encoding: Literal["plain", "base64"] = Field(
        "plain", description="of X-Client-Username and X-Authenticated-User; Squid: icap_client_username_encode"
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
    head_s: float = Field(10.0, gt=0, le=3600, description="from the first byte of a request to the end of its head")
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


class SpoolTable(Table):
    memory_bytes: int = Field(256 * KiB, ge=0, description="of one body in memory; larger ones go to a memfd")
    memfd_bytes: int = Field(16 * MiB, ge=0, description="of one body in a memfd; larger ones go to an unlinked file")
    total_memory_bytes: int = Field(
        512 * MiB, ge=1 * MiB, description="of all bodies of one front in memory and memfds"
    )
    directory: str = Field(
        "/var/tmp",  # noqa: S108 - files there never have a name that somebody could foresee
        min_length=1,
        description="where unlinked files are made",
    )
    total_disk_bytes: int = Field(8192 * MiB, ge=0, description="of all bodies of one front on disk")


class Scanners(Table):
    count: Auto | Annotated[int, Field(ge=1, le=256)] = Field(
        "auto", description="scanner processes in all; auto = one a core, at least two a front"
    )
    memory_bytes: int = Field(1024 * MiB, ge=64 * MiB, description="address-space growth one scanner may use")
    tasks_before_restart: int = Field(
        50_000, ge=1, description="tasks after which a scanner is replaced by a fresh one"
    )
    queue_tasks: int = Field(
        1024, ge=1, description="tasks of one front that may wait; past it the outcome is overload"
    )
    inline_bytes: int = Field(
        64 * KiB, ge=0, le=128 * KiB, description="bodies up to this size travel inside the task message"
    )
    large_bytes: int = Field(1 * MiB, ge=1, description="bodies from this size on never occupy the last free scanner")


class Service(Table):
    path: str = Field(pattern=r"^/[A-Za-z0-9._~/-]*$", description="the path clients ask for")
    aliases: list[Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]] = Field(
        [], description="other paths for the same service"
    )
    methods: list[Method] = Field(["REQMOD", "RESPMOD"], min_length=1, description="REQMOD, RESPMOD or both")
    profile: Literal["squid", "generic"] = Field(
        "generic",
        description="what kind of client asks; squid: reads folded headers, so that blocks send X-Violations-Found",
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
    drip_on_stall: bool | None = Field(None, examples=[False], description="unset = delivery.drip_on_stall")


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
    {"path": "/avscan"},
    {"path": "/echo", "scan": False, "preview_bytes": 1024},
]


class MemoryCache(Table):
    max_bytes: int = Field(64 * MiB, ge=0, description="of one front; 0 switches the tier off")


class MemcachedCache(Table):
    servers: list[Annotated[str, Field(pattern=r"^(.+:\d+|unix:/.+)$")]] = Field(
        [], description="HOST:PORT or unix:/PATH; empty switches the tier off"
    )
    timeout_s: float = Field(0.05, gt=0, le=5, description="for connecting and for one command")
    threads: int = Field(2, ge=1, le=16, description="commands in flight from one front")
    failures_before_open: int = Field(
        3, ge=1, le=100, description="misses by error in a row after which a server is left alone"
    )
    retry_s: float = Field(5.0, gt=0, le=3600, description="how long a failing server is left alone")


class Cache(Table):
    ttl_clean_s: int = Field(3600, ge=0, le=2_592_000, description="0 = do not remember")
    ttl_suspicious_s: int = Field(3600, ge=0, le=2_592_000, description="0 = do not remember")
    ttl_malicious_s: int = Field(86_400, ge=0, le=2_592_000, description="also for FORBIDDEN; 0 = do not remember")
    ttl_unscannable_s: int = Field(
        3600, ge=0, le=2_592_000, description="0 = do not remember; errors and time-outs never are"
    )
    secret_file: str | None = Field(
        None,
        examples=["/etc/icapd/cache.secret"],
        description="a file of 32 random bytes or more, the same on every node; signs records; memcached needs it",
    )
    memory: MemoryCache = MemoryCache()
    memcached: MemcachedCache = MemcachedCache()


class Delivery(Table):
    mode: Literal["hold"] = Field("hold", description="hold: the whole body is judged before any of it goes back")
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
        description="dripped from one body at most; within one stall each waits twice as long as the last",
    )
    broken_url_ttl_s: float = Field(
        120.0,
        ge=0,
        le=86_400,
        description="after a hit behind a drip: how long the same URL gets the block page at once",
    )


class Log(Table):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="of the event log on standard error"
    )
    access: str = Field("-", description="one line a transaction: - = standard output, a path, or off")
    format: Literal["json", "text"] = Field("json", description="of the access lines")


Text = str | list[str]


class When(Table):
    """The conditions of a rule; all must hold; a list holds when one of its entries does; unset holds always."""

    verdict: Text | None = Field(
        None,
        examples=["UNSCANNABLE"],
        description="CLEAN SUSPICIOUS MALICIOUS FORBIDDEN UNSCANNABLE ERROR NOT_SCANNED",
    )
    finding: Text | None = Field(
        None, examples=[["encrypted", "corrupt"]], description="a finding's kind or name; * and ? are wildcards"
    )
    method: Text | None = Field(None, examples=["RESPMOD"], description="REQMOD or RESPMOD")
    service: Text | None = Field(None, examples=["/respmod"], description="a service's path")
    client: Text | None = Field(
        None,
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
        description="address or network of X-Client-IP, or of the ICAP client without it",
    )
    user: Text | None = Field(
        None, examples=["guest*"], description="X-Client-Username or X-Authenticated-User; * and ? are wildcards"
    )
    host: Text | None = Field(
        None,
        examples=[".example.org"],
        description="host of the request; .example.org also matches names below it; * and ? are wildcards",
    )
    http_method: Text | None = Field(
        None, examples=[["POST", "PUT"]], description="of the HTTP request: GET, POST, CONNECT ..."
    )
    media_type: Text | None = Field(
        None,
        examples=["image/*"],
        description="the real type; for block rules also the declared one; image/* is allowed",
    )
    extension: Text | None = Field(
        None, examples=[["exe", "scr"]], description="of the URL's path, without the dot, any case"
    )
    size_over_bytes: int | None = Field(
        None, ge=0, examples=[0], description="of the body; for block rules also of its declared length"
    )
    size_under_bytes: int | None = Field(
        None, ge=0, examples=[100 * MiB], description="of the body; for block rules also of its declared length"
    )


class Rule(Table):
    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        examples=["encrypted-from-partner"],
        description="shown in headers, pages and logs",
    )
    when: When = Field(When(), description="conditions; all must hold")
    action: Literal["allow", "block", "monitor"] = Field(
        examples=["monitor"], description="allow; block; monitor = allow, and record that it would have been blocked"
    )
    page: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a template file for this rule's block page"
    )
    reason: str = Field("", max_length=400, description="shown to the user on the block page")


class Pages(Table):
    block: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a Jinja2 template file; unset = the shipped page"
    )
    contact: str = Field("", max_length=200, description="shown on the block page: whom to ask")


class Settings(Table):
    """The whole configuration. `engines` holds one validated options model for each installed engine."""

    server: Server = Server()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    spool: SpoolTable = SpoolTable()
    scanners: Scanners = Scanners()
    service: list[Service] = Field([Service(**table) for table in SERVICES], min_length=1)
    engines: dict[str, Any] = {}
    cache: Cache = Cache()
    delivery: Delivery = Delivery()
    pages: Pages = Pages()
    log: Log = Log()
    policy: list[Rule] = []
