"""The event log: one line an event on standard error, from a closed list of names, with fields.

Peer text is capped and escaped by JSON. Credentials, bodies and URL queries never get here.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]
_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_TEXT_MAX = 500


class EventName(enum.Enum):
    """Everything worth a line, with its level."""

    STARTING = ("starting", "info")
    LISTENING = ("listening", "info")
    READY = ("ready", "info")
    RULES_LOADED = ("rules-loaded", "info")
    DRAINING = ("draining", "info")
    NURSERY_HANGS = ("nursery-hangs", "error")
    RELOADING = ("reloading", "info")
    RELOADED = ("reloaded", "info")
    RELOAD_UNCHANGED = ("reload-unchanged", "info")
    RELOAD_FAILED = ("reload-failed", "error")
    RELOAD_PROBLEM = ("reload-problem", "error")
    SELF_TEST = ("self-test", "warning")
    CONTROL_FAILED = ("control-failed", "warning")
    WATCHING = ("watching", "info")
    WATCH_FAILED = ("watch-failed", "warning")
    STOPPED = ("stopped", "info")
    CUT_OFF = ("cut-off", "warning")
    FRONT_LOST = ("front-lost", "error")
    FRONT_SILENT = ("front-silent", "error")
    NURSERY_LOST = ("nursery-lost", "error")
    SCANNER_LOST = ("scanner-lost", "warning")
    SCANNER_NOT_STARTED = ("scanner-not-started", "error")
    SCANNER_KILLED = ("scanner-killed", "warning")
    SANDBOX_INCOMPLETE = ("sandbox-incomplete", "warning")
    BUILD_FAILED = ("build-failed", "error")
    CACHE_DISK_STATE = ("cache-disk-state", "warning")
    MEMCACHED_STATE = ("memcached-state", "warning")
    REMOTE_ENGINE_STATE = ("remote-engine-state", "warning")
    REMOTE_ENGINE_VERSION = ("remote-engine-version", "info")
    SPOOL_REFUSED = ("spool-refused", "warning")
    PEER_PROTOCOL_ERROR = ("peer-protocol-error", "info")
    CLIENT_REFUSED = ("client-refused", "info")
    DESCRIPTORS_FEW = ("descriptors-few", "warning")
    LINES_DROPPED = ("lines-dropped", "error")
    LINES_WRITTEN_AGAIN = ("lines-written-again", "warning")
    TRANSFER_BROKEN = ("transfer-broken", "warning")
    SHADOW_DIFFERENCE = ("shadow-difference", "info")
    OVERRIDE_USED = ("override-used", "warning")
    OVERRIDE_REFUSED = ("override-refused", "warning")
    INTERNAL_ERROR = ("internal-error", "error")

    def __init__(self, label: str, level: Level) -> None:
        self.label = label
        self.level = level


class EventLog:
    """Writes events at or above a level, as JSON lines."""

    def __init__(self, level: Level, write: Callable[[bytes], object], process: str) -> None:
        self.set_level(level)
        self._write = write
        self._process = process
        self._encode = msgspec.json.Encoder().encode

    def set_level(self, level: Level) -> None:
        """Events below it are dropped from now on."""
        self._floor = _RANK[level]

    def event(self, name: EventName, **fields: str | float | None) -> None:
        """One line. Text fields are capped; the order of fields is kept."""
        if _RANK[name.level] < self._floor:
            return
        line: dict[str, str | float | None] = {
            "time": round(time.time(), 3),
            "level": name.level,
            "event": name.label,
            "process": self._process,
        }
        for key, value in fields.items():
            line[key] = value[:_TEXT_MAX] if isinstance(value, str) else value
        self._write(self._encode(line) + b"\n")
