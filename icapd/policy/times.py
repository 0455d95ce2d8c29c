"""Times of the week as the operator writes them. Reads no clock: a time is a number that the caller gives.

Units: minutes since Monday 00:00 in the configured time zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_RANGE = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")

Span = tuple[int, int]
"""From the first minute up to, and without, the second."""


def parse_time(text: str) -> Span | None:
    """`22:00-06:00` in minutes of a day; an end before the start is on the next day. None for what is no range."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    hours = [int(part) for part in match.groups()]
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if start >= DAY_MINUTES or end > DAY_MINUTES or start == end:
        return None
    return start, end if end > start else end + DAY_MINUTES


def parse_days(text: str) -> tuple[int, ...] | None:
    """`mon-fri` or `sun` as numbers from Monday on; `sat-mon` goes over the week's end. None if it is none."""
    first, dash, last = text.lower().partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        return None
    start = DAYS.index(first)
    count = (DAYS.index(last) - start) % 7 + 1 if dash else 1
    return tuple((start + offset) % 7 for offset in range(count))


def week_spans(times: Sequence[str], days: Sequence[str]) -> tuple[Span, ...]:
    """The minutes of the week that a rule means, in order. A range over midnight belongs to the day it begins on."""
    ranges = [parsed for text in times if (parsed := parse_time(text)) is not None] or [(0, DAY_MINUTES)]
    numbers = {day for text in days for day in parse_days(text) or ()} or set(range(7))
    spans: list[Span] = []
    for day in numbers:
        for start, end in ranges:
            first, last = day * DAY_MINUTES + start, day * DAY_MINUTES + end
            spans.append((first, min(last, WEEK_MINUTES)))
            if last > WEEK_MINUTES:
                spans.append((0, last - WEEK_MINUTES))
    return _joined(sorted(spans))


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
