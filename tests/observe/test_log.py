"""The event log: a closed list of names, levels, and a cap on what peers can make it say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from icapd.observe.log import EventLog, EventName, Level

LEVELS: list[Level] = ["debug", "info", "warning", "error"]


def written(level: Level, name: EventName, **fields: Any) -> list[dict[str, Any]]:
    lines: list[bytes] = []
    EventLog(level, lines.append, "front-0").event(name, **fields)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def test_an_event_is_one_line_with_its_fields_in_order() -> None:
    [event] = written("info", EventName.CLIENT_REFUSED, peer="192.0.2.7", reason="no", number=1.5, nothing=None)
    assert list(event) == ["time", "level", "event", "process", "peer", "reason", "number", "nothing"]
    assert event.pop("time") > 1_600_000_000
    assert event == {
        "level": "info",
        "event": "client-refused",
        "process": "front-0",
        "peer": "192.0.2.7",
        "reason": "no",
        "number": 1.5,
        "nothing": None,
    }


@pytest.mark.parametrize("name", EventName)
@pytest.mark.parametrize("level", LEVELS)
def test_events_below_the_level_are_left_out(level: Level, name: EventName) -> None:
    assert len(written(level, name)) == (LEVELS.index(name.level) >= LEVELS.index(level))


def test_labels_are_all_different() -> None:
    assert len({name.label for name in EventName}) == len(EventName)


@pytest.mark.parametrize("size", [500, 501, 100_000])
def test_text_is_capped(size: int) -> None:
    [event] = written("info", EventName.PEER_PROTOCOL_ERROR, reason="x" * size)
    assert event["reason"] == "x" * 500


def test_peer_text_cannot_begin_a_line() -> None:
    hostile = 'a"\r\n{"event":"ready"}\x00\x1b[31m\u2028'
    [event] = written("info", EventName.PEER_PROTOCOL_ERROR, reason=hostile)
    assert event["reason"] == hostile
