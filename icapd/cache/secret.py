"""The secret that signs records: configured, or made once for the disk tier's directory, or of this run alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from icapd.cache.directory import directory_secret, prepare_directory
from icapd.cache.record import MIN_SECRET_BYTES
from icapd.config.schema import Cache
from icapd.errors import ConfigurationError, Problem

MAX_SECRET_BYTES = 4096


def load_secret(settings: Cache, resolve: Callable[[str], Path] = Path) -> bytes:
    """The configured file's bytes; without one, what lies in the disk tier's directory, or random ones.

    Raises: ConfigurationError for a file that cannot be read or is too short, and for memcached without a file.
    """
    if settings.secret_file is not None:
        return read_secret("cache.secret_file", resolve(settings.secret_file))
    if settings.memcached.servers:
        raise ConfigurationError([Problem("cache.secret_file", "cache.memcached needs one, the same on every node")])
    if settings.disk.directory is not None:
        made = directory_secret(resolve(settings.disk.directory))
        if made is not None:
            return made
    return secrets.token_bytes(MIN_SECRET_BYTES)


def prepare_disk(settings: Cache, resolve: Callable[[str], Path] = Path) -> None:
    """Before a server starts: makes the disk tier's directory, and its secret where none is configured.

    Not for who only looks at a configuration: what it made would belong to whoever looked.

    Raises: ConfigurationError for a directory that cannot be used.
    """
    if settings.disk.directory is not None:
        prepare_directory(resolve(settings.disk.directory), with_secret=settings.secret_file is None)


def read_secret(key: str, path: Path) -> bytes:
    """The bytes of the file that a key names. Raises: ConfigurationError."""
    try:
        with path.open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([Problem(key, f"cannot be read: {error.strerror}")]) from error
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ConfigurationError([Problem(key, f"wants {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")])
    return secret
