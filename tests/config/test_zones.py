"""Time zones: which are taken, and what time of the week it is in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from icapd.config.schema import time_zone, week_minute
from icapd.config.schema.serving import Server

SUNDAY = datetime(2024, 3, 31, 23, 59, 30, tzinfo=UTC)


def test_the_week_begins_on_monday_in_the_zone() -> None:
    last = 7 * 24 * 60 - 1
    assert week_minute(SUNDAY.timestamp(), time_zone("UTC")) == last
    assert week_minute(SUNDAY.timestamp() + 30, time_zone("UTC")) == 0
    assert week_minute(SUNDAY.timestamp(), timezone(timedelta(hours=2))) == 119


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "/etc/localtime", "utc\0"])
def test_a_zone_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no such time zone is installed here"):
        time_zone(name)
    with pytest.raises(ValueError, match="time_zone"):
        Server.model_validate({"time_zone": name})
