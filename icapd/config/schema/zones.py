"""Time zones by name, as rules with a time of day need one."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo


def time_zone(name: str) -> tzinfo:
    """The zone of this name. UTC needs no database of the system.

    Raises: ValueError for one that is not installed.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("no such time zone is installed here; wants UTC or a name as Europe/Berlin") from error


def week_minute(now_s: float, zone: tzinfo) -> int:
    """Minutes since Monday 00:00 in a zone. `now_s` as of `time.time()`."""
    local = datetime.fromtimestamp(now_s, zone)
    return (local.weekday() * 24 + local.hour) * 60 + local.minute
