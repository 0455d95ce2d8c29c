"""What a command may see and do of the shared tiers, beside a server that runs or not.

Values only in what comes back, so that a command can print them or encode them. Blocks; for no reactor.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import lmdb
import msgspec
from pymemcache.exceptions import MemcacheError

from icapd.cache.client import BoundedClient, server_address
from icapd.cache.directory import close_store, open_store
from icapd.cache.record import RecordRefused, Signer, memcached_key
from icapd.cache.store import DATA_FILE, Entry, VerdictStore
from icapd.config.schema import DiskCache, MemcachedCache
from icapd.errors import IcapdError
from icapd.scan.model import CacheKey, ScanReport


class TierUnreachable(IcapdError):
    """A shared tier cannot be looked into; the text says why."""


class DiskStats(msgspec.Struct, frozen=True):
    """The disk tier at one moment. `first_end_s` and `last_end_s`: Unix time, 0 when there is nothing."""

    directory: str
    entries: int
    size_bytes: int
    file_bytes: int
    max_bytes: int
    purges: int
    rulesets: dict[str, int]
    first_end_s: int
    last_end_s: int


class ServerStats(msgspec.Struct, frozen=True):
    """One memcached server: everything it holds, whoever stored it; `error` when it did not answer."""

    server: str
    items: int = 0
    size_bytes: int = 0
    hits: int = 0
    misses: int = 0
    error: str = ""


class Found(msgspec.Struct, frozen=True):
    """One record of a content, and where it lies. `refused` says why it is not believed; then there is no report."""

    tier: str
    ruleset: str
    coding: str
    size_bytes: int
    expires_at_s: int = 0
    refused: str = ""
    report: ScanReport | None = None


class Emptied(msgspec.Struct, frozen=True):
    """One memcached server after it was told to forget everything; `error` when it did not."""

    server: str
    error: str = ""


@contextlib.contextmanager
def opened_store(settings: DiskCache, directory: Path, tell: Callable[[str], None]) -> Iterator[VerdictStore | None]:
    """The disk tier's database beside those who use it, or None when nothing was ever stored.

    Only as the user whose it is: what another one leaves there, a server could not open.

    Raises: TierUnreachable.
    """
    try:
        owner = directory.stat().st_uid
        is_there = (directory / DATA_FILE).exists()
    except FileNotFoundError:
        is_there, owner = False, os.geteuid()
    except OSError as error:
        raise TierUnreachable(f"{directory}: {error.strerror}") from error
    if owner != os.geteuid():
        raise TierUnreachable(f"{directory} belongs to {_user(owner)}: run this command as that user")
    if not is_there:
        yield None
        return
    try:
        opened = open_store(directory, settings.max_bytes, tell)
        try:
            yield opened.store
        finally:
            close_store(directory, opened)
    except (lmdb.Error, OSError) as error:
        raise TierUnreachable(f"{directory}: {error}") from error


def disk_stats(store: VerdictStore, settings: DiskCache, directory: Path) -> DiskStats:
    """Counts all entries; a second for a million of them."""
    rulesets: Counter[str] = Counter()
    first_end_s = last_end_s = 0
    for entry in store.entries():
        rulesets[entry.ruleset] += 1
        first_end_s = min(first_end_s or entry.expires_at_s, entry.expires_at_s)
        last_end_s = max(last_end_s, entry.expires_at_s)
    return DiskStats(
        str(directory),
        *store.usage(),
        (directory / DATA_FILE).stat().st_size,
        settings.max_bytes,
        store.generation(),
        dict(rulesets.most_common()),
        first_end_s,
        last_end_s,
    )


def server_stats(settings: MemcachedCache) -> Iterator[ServerStats]:
    """What each server says of itself."""
    names = (b"curr_items", b"bytes", b"get_hits", b"get_misses")
    for server in settings.servers:
        try:
            with contextlib.closing(_client(server, settings)) as client:
                answer = client.stats()
            items, size_bytes, hits, misses = (int(answer[name]) for name in names)
            yield ServerStats(server, items, size_bytes, hits, misses)
        except (OSError, MemcacheError, KeyError, ValueError) as error:
            yield ServerStats(server, error=str(error))


def found_on_disk(store: VerdictStore, signer: Signer, sha256: bytes, now_s: float) -> Iterator[Found]:
    """Every record of one content, under any ruleset."""
    for name, entry in store.find(sha256):
        if isinstance(entry, Entry):
            yield _found("disk", signer, entry.key(name), entry.record, now_s)
        else:
            yield Found("disk", "", "", 0, refused=entry)


def found_on_servers(
    settings: MemcachedCache, signer: Signer, keys: Iterable[CacheKey], now_s: float
) -> Iterator[Found]:
    """What any server has under these keys. Raises: TierUnreachable for a server that does not answer."""
    wanted = list(keys)
    for server in settings.servers:
        try:
            with contextlib.closing(_client(server, settings)) as client:
                records = [client.get(memcached_key(key)) for key in wanted]
        except (OSError, MemcacheError, KeyError, ValueError) as error:
            raise TierUnreachable(f"{server}: {error}") from error
        for key, record in zip(wanted, records, strict=True):
            if record is not None:
                yield _found(server, signer, key, record, now_s)


def empty_servers(settings: MemcachedCache) -> Iterator[Emptied]:
    """Tells each server to forget everything it holds."""
    for server in settings.servers:
        try:
            with contextlib.closing(_client(server, settings)) as client:
                client.flush_all(noreply=False)
            yield Emptied(server)
        except (OSError, MemcacheError, KeyError, ValueError) as error:
            yield Emptied(server, str(error))


def _found(tier: str, signer: Signer, key: CacheKey, record: bytes, now_s: float) -> Found:
    try:
        stored = signer.open_record(key, record, now_s)
    except RecordRefused as refusal:
        return Found(tier, key.ruleset, key.coding, key.size_bytes, refused=refusal.reason)
    return Found(tier, key.ruleset, key.coding, key.size_bytes, stored.expires_at_s, report=stored.report)


def _client(server: str, settings: MemcachedCache) -> BoundedClient:
    return BoundedClient(server_address(server), timeout=max(settings.timeout_s, 1.0), default_noreply=False)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
