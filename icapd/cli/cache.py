"""`icapd cache stats`, `get` and `purge`: what the cache's shared tiers hold, beside a server that runs or not."""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from icapd.cache.inspection import (
    DiskStats,
    Emptied,
    Found,
    ServerStats,
    TierUnreachable,
    disk_stats,
    empty_servers,
    found_on_disk,
    found_on_servers,
    opened_store,
    server_stats,
)
from icapd.cache.record import Signer
from icapd.cache.secret import load_secret
from icapd.cli.config import load_configuration
from icapd.cli.console import Output, printable
from icapd.cli.exits import Exit
from icapd.config.load import Loaded
from icapd.errors import ConfigurationError, Problem
from icapd.plugins import gather_snapshot
from icapd.scan.model import CacheKey

_ADMIN_S = 2.0


class TierCounts(msgspec.Struct):
    """One tier's counters in a running server, over all its fronts since it started."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    refused: int = 0
    skipped: int = 0
    mean_lookup_us: float = 0.0
    entries: int = 0
    size_bytes: int = 0


_COLUMNS = ("hits", "misses", "refused", "errors", "skipped", "mean us", "entries", "bytes")


class Stats(msgspec.Struct, frozen=True):
    """What `stats` tells. `server` is None when none answers at the admin address."""

    disk: DiskStats | None
    memcached: list[ServerStats]
    server: dict[str, TierCounts] | None


class Purged(msgspec.Struct, frozen=True):
    """What `purge` reached. `disk_entries` is None without a disk tier, and then no front's memory was reached."""

    disk_entries: int | None
    memory: bool
    memcached: list[Emptied]


def run(options: argparse.Namespace) -> int:
    """Raises: ConfigurationError."""
    loaded = load_configuration(options)
    cache = loaded.settings.cache
    if cache.disk.directory is None and not cache.memcached.servers:
        raise ConfigurationError(
            [Problem("cache", "has neither a disk.directory nor memcached.servers; memory ends with its server")]
        )
    try:
        return {"stats": _stats, "get": _get, "purge": _purge}[options.action](options, loaded)
    except TierUnreachable as error:
        print(f"icapd cache: {printable(str(error))}", file=sys.stderr)
        return Exit.FAILED


def _warn(fault: str) -> None:
    print(f"icapd cache: the database could not be used and was set aside: {printable(fault)}", file=sys.stderr)


def _directory(loaded: Loaded) -> Path | None:
    directory = loaded.settings.cache.disk.directory
    return None if directory is None else loaded.resolve(directory)


def _write(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _plural(count: int) -> str:
    return f"{count} verdict{'' if count == 1 else 's'}"


# stats


def _stats(options: argparse.Namespace, loaded: Loaded) -> int:
    settings, directory = loaded.settings.cache, _directory(loaded)
    disk = None
    if directory is not None:
        disk = DiskStats(str(directory), 0, 0, 0, settings.disk.max_bytes, 0, {}, 0, 0)
        with opened_store(settings.disk, directory, _warn) as store:
            if store is not None:
                disk = disk_stats(store, settings.disk, directory)
    stats = Stats(disk, list(server_stats(settings.memcached)), _counts(loaded.settings.server.admin))
    if options.json:
        _write(stats)
    else:
        out = Output()
        for line in _stats_lines(stats, time.time()):
            out.line(line)
    return Exit.FAILED if any(server.error for server in stats.memcached) else Exit.OK


def _counts(admin: str) -> dict[str, TierCounts] | None:
    """A running server's counters by tier."""
    try:
        with urllib.request.urlopen(f"{admin.rstrip('/')}/metrics", timeout=_ADMIN_S) as reply:  # noqa: S310 - http, by its schema
            text = reply.read().decode()
    except (OSError, ValueError):
        return None
    tiers: dict[str, TierCounts] = {}
    seconds: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.startswith("icapd_cache_") or "tier" not in sample.labels:
                continue
            counts = tiers.setdefault(sample.labels["tier"], TierCounts())
            if sample.name == "icapd_cache_lookups_total":
                setattr(counts, sample.labels["result"], int(sample.value))
            elif sample.name == "icapd_cache_lookup_seconds_total":
                seconds[sample.labels["tier"]] = sample.value
            elif sample.name == "icapd_cache_entries":
                counts.entries = int(sample.value)
            elif sample.name == "icapd_cache_bytes":
                counts.size_bytes = int(sample.value)
    for tier, counts in tiers.items():
        asked = counts.hits + counts.misses + counts.errors + counts.refused
        counts.mean_lookup_us = round(1e6 * seconds.get(tier, 0.0) / asked, 1) if asked else 0.0
    return tiers


def _stats_lines(stats: Stats, now_s: float) -> Iterator[str]:
    if (disk := stats.disk) is not None:
        yield f"disk       {disk.directory}"
        yield f"  {_plural(disk.entries)} in {disk.size_bytes} bytes, at most {disk.max_bytes}"
        if disk.entries:
            yield f"  the first ends {_life(disk.first_end_s - now_s)}, the last {_life(disk.last_end_s - now_s)}"
        for ruleset, entries in disk.rulesets.items():
            yield f"  ruleset {ruleset}: {entries}"
    for server in stats.memcached:
        said = f"{server.items} items in {server.size_bytes} bytes, whoever stored them"
        yield f"memcached  {server.server}: {f'does not answer: {server.error}' if server.error else said}"
    if stats.server is None:
        yield "server     none answers at its admin address, so there are no counters"
        return
    yield _row("tier", *_COLUMNS)
    for tier, counts in stats.server.items():
        numbers = (counts.hits, counts.misses, counts.refused, counts.errors, counts.skipped)
        yield _row(tier, *numbers, counts.mean_lookup_us, counts.entries, counts.size_bytes)


def _row(tier: str, *cells: object) -> str:
    return f"{tier:<10}" + "".join(f" {cell:>9}" for cell in cells)


def _life(left_s: float) -> str:
    return "now" if left_s <= 0 else f"in {left_s:.0f} s"


# get


def _get(options: argparse.Namespace, loaded: Loaded) -> int:
    settings, directory = loaded.settings.cache, _directory(loaded)
    signer, now_s = Signer(load_secret(settings, loaded.resolve)), time.time()
    found: list[Found] = []
    if directory is not None:
        with opened_store(settings.disk, directory, _warn) as store:
            if store is not None:
                found += found_on_disk(store, signer, options.sha256, now_s)
    keys = {CacheKey(options.sha256, each.size_bytes, each.ruleset, each.coding) for each in found if each.ruleset}
    if options.size is not None and settings.memcached.servers:
        ruleset = gather_snapshot(
            loaded.settings.engines, loaded.resolve, selection=loaded.settings.selection
        ).ruleset
        keys.add(CacheKey(options.sha256, options.size, ruleset))
    found += found_on_servers(settings.memcached, signer, keys, now_s)
    if options.json:
        _write(found)
    else:
        out = Output()
        for each in found:
            for line in _found_lines(each, now_s):
                out.line(line)
        if not found:
            out.line("nothing is known of this content")
    return Exit.OK if any(each.report for each in found) else Exit.ABSENT


def _found_lines(found: Found, now_s: float) -> Iterator[str]:
    where = f"{found.tier}, ruleset {found.ruleset or 'unknown'}" + (
        f", coding {found.coding}" if found.coding else ""
    )
    if found.report is None:
        yield f"not believed: {found.refused}; {where}"
        return
    yield f"{found.report.verdict}, {found.size_bytes} bytes; {where}; ends {_life(found.expires_at_s - now_s)}"
    for finding in found.report.findings:
        member = f" in {' / '.join(finding.trail)}" if finding.trail else ""
        yield f"  {finding.name} ({finding.kind}, {finding.severity.name.lower()}), found by {finding.engine}{member}"


# purge


def _purge(options: argparse.Namespace, loaded: Loaded) -> int:
    """memcached first: a front that forgets before would learn anew what it still has."""
    settings, directory = loaded.settings.cache, _directory(loaded)
    emptied = list(empty_servers(settings.memcached)) if options.memcached else []
    entries = None
    if directory is not None:
        with opened_store(settings.disk, directory, _warn) as store:
            entries = 0 if store is None else store.purge()
    purged = Purged(entries, entries is not None, emptied)
    if options.json:
        _write(purged)
    else:
        out = Output()
        for line in _purge_lines(purged, settings.memcached.servers):
            out.line(line)
    return Exit.FAILED if any(server.error for server in emptied) else Exit.OK


def _purge_lines(purged: Purged, servers: list[str]) -> Iterator[str]:
    if purged.disk_entries is not None:
        yield f"disk       {_plural(purged.disk_entries)} forgotten"
        yield "memory     running fronts forget theirs within a second"
    else:
        yield "memory     not reached: without cache.disk.directory only a restart makes running fronts forget"
    for server in purged.memcached:
        yield f"memcached  {server.server}: {f'not emptied: {server.error}' if server.error else 'emptied'}"
    if servers and not purged.memcached:
        yield "memcached  not reached: what it holds comes back from there. --memcached empties it for all its users"
