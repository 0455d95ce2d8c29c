"""Times of the week: what operators write, in minutes."""

from __future__ import annotations

import pytest

from icapd.policy.times import DAY_MINUTES, WEEK_MINUTES, parse_days, parse_time, week_spans

SUNDAY = 6 * DAY_MINUTES


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("08:00-18:00", (480, 1080)),
        ("22:00-06:00", (1320, 1800)),
        ("00:00-24:00", (0, 1440)),
        ("23:59-00:00", (1439, 1440)),
        ("24:00-06:00", None),
        ("06:00-24:01", None),
        ("08:00-08:00", None),
        ("8:00-18:00", None),
        ("08:60-18:00", None),
        ("25:00-26:00", None),
        ("08:00", None),
    ],
)
def test_a_time_is_a_range_of_a_day(text: str, span: tuple[int, int] | None) -> None:
    assert parse_time(text) == span


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon", (0,)), ("Mon-FRI", (0, 1, 2, 3, 4)), ("sat-mon", (5, 6, 0)), ("mon-", None), ("day", None), ("", None)],
)
def test_days_go_over_the_end_of_the_week(text: str, days: tuple[int, ...] | None) -> None:
    assert parse_days(text) == days


def test_a_night_belongs_to_the_day_it_begins_on() -> None:
    assert week_spans(["22:00-06:00"], ["sun"]) == ((0, 360), (SUNDAY + 1320, WEEK_MINUTES))
    assert week_spans([], ["tue"]) == ((DAY_MINUTES, 2 * DAY_MINUTES),)
    assert week_spans(["00:00-24:00"], []) == ((0, WEEK_MINUTES),)
    assert week_spans(["08:00-10:00", "09:00-11:00"], ["mon"]) == ((480, 660),)
