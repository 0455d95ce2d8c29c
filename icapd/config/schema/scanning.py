"""Where bodies are kept, who scans them, and what is remembered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from icapd.config.schema.base import Auto, KiB, MiB, Table


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
    sandbox: bool | Literal["required"] = Field(
        True,
        description='true = all that this kernel offers; "required" = do not start where it lacks something; '
        "false = resource limits only",
    )
    user: str = Field(
        "nobody", min_length=1, description="whom scanners run as when the server runs as root; else the server's own"
    )
    queue_tasks: int = Field(
        1024, ge=1, description="small bodies of one front that may wait, and large ones; past it: overload"
    )
    queue_wait_s: float = Field(
        8.0, gt=0, le=60, description="no more wait than are begun within this time, as measured; others are overload"
    )
    inline_bytes: int = Field(
        64 * KiB, ge=0, le=128 * KiB, description="bodies up to this size travel inside the task message"
    )
    large_bytes: int = Field(1 * MiB, ge=1, description="bodies from this size on never occupy the last free scanner")


class SelectionRow(Table):
    max_risk: int = Field(0, ge=0, le=100, description="holds for samples up to this risk, unless a lower row does")
    skips: list[str] = Field([], description="engines that do not see inert samples; never identify or hashes")
    time_share: float = Field(1.0, gt=0, le=1, description="of each engine's timeout_s that may be used by then")
    max_depth: int = Field(64, ge=0, le=64, description="levels that are opened inside such a sample")


INERT_ALONE = SelectionRow(max_risk=0, skips=["archive", "embedded", "office", "pdf"])


class MemoryCache(Table):
    max_bytes: int = Field(64 * MiB, ge=0, description="of one front; 0 switches the tier off")


class DiskCache(Table):
    directory: str | None = Field(
        None,
        min_length=1,
        examples=["/var/lib/icapd/cache"],
        description="of this server alone; all fronts share what is in it, and it survives restarts; unset switches "
        "the tier off",
    )
    max_bytes: int = Field(
        256 * MiB, ge=16 * MiB, le=64 * 1024 * MiB, description="of the file, shared by all fronts"
    )


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
    disk: DiskCache = DiskCache()
    memcached: MemcachedCache = MemcachedCache()
