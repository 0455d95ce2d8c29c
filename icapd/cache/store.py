"""The database on disk: records by content, and their order by the end of life. LMDB; several processes share it.

Owns keys, values and the bound. Knows nothing of threads, nor of who else has the directory open (`directory`).
Whoever writes waits for other processes' transactions, so nothing here but reading may be called by a reactor.

No transaction is flushed to the disk by itself. A process that is killed loses nothing that was committed, as the
kernel has it; only a machine that loses power may leave a torn file, which `directory` finds at the next start.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import lmdb
import msgspec

from icapd.cache.record import RefusalReason
from icapd.errors import IcapdError
from icapd.scan.model import CacheKey

FORMAT = b"1"
DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"

FULL_AT = 0.8
"""The share of the file that entries may fill. Every transaction copies the pages it changes before it frees the old
ones, and what a reader still looks at is not free: the rest is room for that."""

_MAX_READERS = 512
_BATCH_ENTRIES_MAX = 256
"""A transaction of so many holds the GIL for 2 ms in all, and other processes' writes not much longer."""
_BYTES_A_CHANGE = 256 * 1024
"""Each change of an entry copies a page of its own, as digests lie apart; a file needs so much for each in a batch,
or a few transactions in a row would take all the room that is kept free."""
_EXPIRY = struct.Struct(">Q")
_SHA256_BYTES = 32

DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)
"""What says that the file cannot be used any more, unlike a full disk or a table of readers without room."""


class ForeignStore(IcapdError):
    """The database was laid out by another release."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record with what it takes to verify it: its key's parts beside the digest, and when it ends.

    Only the record is signed: what else stands here may lie, and then the record does not verify.
    """

    expires_at_s: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    size_bytes: int
    ruleset: str
    coding: str
    record: bytes

    def key(self, name: bytes) -> CacheKey:
        """The key that this entry claims to belong to."""
        return CacheKey(name[:_SHA256_BYTES], self.size_bytes, self.ruleset, self.coding)


class Usage(NamedTuple):
    """What is kept at the moment; bytes of pages, with their slack."""

    entries: int
    size_bytes: int


class Written(NamedTuple):
    """What became of a batch. STALE: remembered before a purge that it came too late for."""

    stored: int
    stale: int
    evicted: int


class Pending(NamedTuple):
    """An entry to be written, and the generation it was remembered in."""

    name: bytes
    generation: int
    entry: Entry


def entry_name(key: CacheKey) -> bytes:
    """Where an entry lives: the content's digest first, so that everything known of one content lies together."""
    rest = msgspec.msgpack.encode((key.size_bytes, key.ruleset, key.coding))
    return key.sha256 + hashlib.blake2b(rest, digest_size=16).digest()


class VerdictStore:
    """An open database. One in a process and directory at a time: LMDB's locks are the process's.

    Raises: lmdb.Error from every method; OSError and ForeignStore when it is opened.
    State: `inode` of the file that is open, whatever its name has come to mean since, and its size as last seen.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.batch_entries = min(_BATCH_ENTRIES_MAX, max_bytes // _BYTES_A_CHANGE)
        """How many entries to write, or to drop, in one transaction at most."""
        self._data_path = directory / DATA_FILE
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Entry).decode
        self._env = lmdb.open(
            str(directory),
            map_size=max_bytes,
            max_dbs=3,
            max_readers=_MAX_READERS,
            mode=0o600,
            sync=False,
            metasync=False,
        )
        try:
            self._records = self._env.open_db(b"records")
            self._ages = self._env.open_db(b"ages")
            self._meta = self._env.open_db(b"meta")
            self._check_format()
            status = self._data_path.stat()
            self._inode, self._file_bytes = status.st_ino, status.st_size
        except BaseException:
            self._env.close()
            raise

    def _check_format(self) -> None:
        with self._env.begin(write=True, db=self._meta) as txn:
            found = txn.get(b"format")
            if found is None:
                txn.put(b"format", FORMAT)
            elif found != FORMAT:
                raise ForeignStore(f"laid out as format {found[:20]!r}, not {FORMAT!r}")

    def close(self, *, is_damaged: bool = False) -> None:
        """Makes everything durable, unless it is damaged, and lets go."""
        try:
            if not is_damaged:
                self._env.sync(True)
        finally:
            self._env.close()

    def sync(self) -> None:
        """Makes durable what was written. May take as long as the disk does."""
        self._env.sync(True)

    @property
    def is_replaced(self) -> bool:
        """Whether another file has taken this one's place: somebody set it aside, or removed it."""
        try:
            return self._data_path.stat().st_ino != self._inode
        except OSError:
            return True

    @property
    def is_cut_off(self) -> bool:
        """Whether the file is smaller than when last asked.

        LMDB never makes it so, and to read what is gone is a signal that ends the process.
        """
        try:
            status = self._data_path.stat()
        except OSError:
            return False
        before, self._file_bytes = self._file_bytes, status.st_size
        return status.st_ino == self._inode and self._file_bytes < before

    # Reading

    def get(self, name: bytes) -> Entry | None:
        """Raises: msgspec.DecodeError for what is no entry."""
        with self._env.begin(db=self._records) as txn:
            data = txn.get(name)
        return None if data is None else self._decode(data)

    def generation(self) -> int:
        """How often everything was purged."""
        with self._env.begin(db=self._meta) as txn:
            return _generation(txn)

    def usage(self) -> Usage:
        with self._env.begin() as txn:
            return self._usage(txn)

    def find(self, sha256: bytes) -> list[tuple[bytes, Entry | RefusalReason]]:
        """Everything kept of one content, with its name."""
        found: list[tuple[bytes, Entry | RefusalReason]] = []
        with self._env.begin(db=self._records) as txn, txn.cursor() as cursor:
            more = cursor.set_range(sha256)
            while more and cursor.key().startswith(sha256):
                found.append((cursor.key(), self._read(cursor.value())))
                more = cursor.next()
        return found

    def longest_living(self, before: bytes, limit: int) -> list[tuple[bytes, bytes, Entry]]:
        """The next entries by the end of their life, latest first: (place, name, entry).

        Args:
            before: the place the last call ended with; empty to begin.
        """
        found: list[tuple[bytes, bytes, Entry]] = []
        with self._env.begin() as txn, txn.cursor(db=self._ages) as cursor:
            more = cursor.prev() if before and cursor.set_range(before) else cursor.last()
            while more and len(found) < limit:
                place = cursor.key()
                name = place[_EXPIRY.size :]
                data = txn.get(name, db=self._records)
                if data is not None and isinstance(entry := self._read(data), Entry):
                    found.append((place, name, entry))
                more = cursor.prev()
        return found

    def entries(self) -> Iterator[Entry]:
        """All entries, read in one transaction: for a command, not for a server."""
        with self._env.begin(db=self._records) as txn, txn.cursor() as cursor:
            for data in cursor.iternext(keys=False):
                if isinstance(entry := self._read(data), Entry):
                    yield entry

    def _read(self, data: bytes) -> Entry | RefusalReason:
        try:
            return self._decode(data)
        except msgspec.DecodeError:
            return RefusalReason.MALFORMED

    # Writing

    def write(self, batch: Iterable[Pending]) -> Written:
        """Stores a batch in one transaction; whose life ends first makes room, two for each that comes at most."""
        pending = list(batch)
        incoming_bytes = sum(len(each.entry.record) for each in pending)
        stored = 0
        with self._env.begin(write=True) as txn:
            generation = _generation(txn, self._meta)
            evicted = self._make_room(txn, incoming_bytes, 2 * len(pending))
            for name, remembered_in, entry in pending:
                if remembered_in == generation:
                    self._put(txn, name, entry)
                    stored += 1
        return Written(stored, len(pending) - stored, evicted)

    def sweep(self, now_s: float) -> int:
        """Drops entries whose life has ended, a batch of them at most. Returns: how many."""
        with self._env.begin() as txn, txn.cursor(db=self._ages) as cursor:
            if not cursor.first() or _expires_at_s(cursor.key()) > now_s:
                return 0  # without having waited for anybody who writes
        with self._env.begin(write=True) as txn:
            return self._drop_first(txn, self.batch_entries, now_s)

    def evict(self) -> int:
        """Drops a batch of those whose life ends first. Returns: how many."""
        with self._env.begin(write=True) as txn:
            return self._drop_first(txn, self.batch_entries)

    def purge(self) -> int:
        """Drops everything and begins the next generation. Returns: how many entries there were."""
        with self._env.begin(write=True) as txn:
            entries = self._usage(txn).entries
            txn.drop(self._records, delete=False)
            txn.drop(self._ages, delete=False)
            txn.put(b"generation", _EXPIRY.pack(_generation(txn, self._meta) + 1), db=self._meta)
        self.sync()
        return entries

    def free_dead_readers(self) -> None:
        """Gives back what processes were looking at when they were killed: it could not be reused."""
        self._env.reader_check()

    def _put(self, txn: lmdb.Transaction[bytes], name: bytes, entry: Entry) -> None:
        data = self._encode(entry)
        old = txn.replace(name, data, db=self._records)
        if old is not None and isinstance(before := self._read(old), Entry):
            txn.delete(_place(before.expires_at_s, name), db=self._ages)
        txn.put(_place(entry.expires_at_s, name), b"", db=self._ages)

    def _make_room(self, txn: lmdb.Transaction[bytes], incoming_bytes: int, limit: int) -> int:
        if self._usage(txn).size_bytes + incoming_bytes <= self._max_bytes * FULL_AT:
            return 0
        return self._drop_first(txn, limit)

    def _drop_first(self, txn: lmdb.Transaction[bytes], limit: int, until_s: float | None = None) -> int:
        dropped = 0
        with txn.cursor(db=self._ages) as cursor:
            more = cursor.first()
            while more and dropped < limit:
                place = cursor.key()
                if until_s is not None and _expires_at_s(place) > until_s:
                    break
                txn.delete(place[_EXPIRY.size :], db=self._records)
                more = cursor.delete() and bool(cursor.key())
                dropped += 1
        return dropped

    def _usage(self, txn: lmdb.Transaction[bytes]) -> Usage:
        records, ages = txn.stat(self._records), txn.stat(self._ages)
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in (records, ages))
        return Usage(records["entries"], pages * records["psize"])


def _place(expires_at_s: int, name: bytes) -> bytes:
    return _EXPIRY.pack(expires_at_s) + name


def _expires_at_s(place: bytes) -> int:
    return int.from_bytes(place[: _EXPIRY.size], "big")


def _generation(txn: lmdb.Transaction[bytes], meta: lmdb._Database | None = None) -> int:
    data = txn.get(b"generation", default=b"", db=meta)
    return int.from_bytes(data, "big")


def file_bytes(directory: Path) -> int:
    """How large the file is, free pages included. Raises: OSError."""
    return os.stat(directory / DATA_FILE).st_size
