"""The ISTag names everything that an answer rests on, and nothing else. Seen from the plan; no server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icapd.config.load import load
from icapd.plugins import gather_snapshot, installed_specs
from icapd.worker.planning import make_plan
from tests.support.icapd import to_toml

ONE: dict[str, Any] = {"path": "/one", "policy": "strict"}
OTHER: dict[str, Any] = {"path": "/other", "policy": "open"}
SERVICES = [ONE, OTHER]


def istag(folder: Path, *services: dict[str, Any], **tables: Any) -> str:
    """Of a server with these services and the hash lists alone, which are the fastest to gather."""
    path = folder / "icapd.toml"
    engines = {"yara": {"enabled": False}, "archive": {"enabled": True}, "hashes": {"enabled": True}}
    path.write_text(to_toml({"engines": engines, **tables, "service": list(services)}))
    loaded = load(path, installed_specs(), environ={})
    return make_plan(
        loaded, gather_snapshot(loaded.settings.engines, loaded.resolve, selection=loaded.settings.selection)
    ).istag


@pytest.mark.parametrize(
    "services",
    [
        [{**ONE, "policy": "open"}, {**OTHER, "policy": "strict"}],
        [{"path": "/one"}, OTHER],
        [{**ONE, "path": "/two"}, OTHER],
        [{**ONE, "aliases": ["/two"]}, OTHER],
        [{**ONE, "methods": ["RESPMOD"]}, OTHER],
        [{**ONE, "scan": False}, OTHER],
        [{**ONE, "engines": ["hashes"]}, OTHER],
        [{**ONE, "max_body_bytes": 1024}, OTHER],
        [ONE],
    ],
    ids=["swapped", "policy", "path", "alias", "methods", "scan", "engines", "max_body_bytes", "fewer"],
)
def test_it_changes_with_what_a_service_does(tmp_path: Path, services: list[dict[str, Any]]) -> None:
    assert istag(tmp_path, *services) != istag(tmp_path, *SERVICES)


@pytest.mark.parametrize(
    "tables",
    [
        {"limits": {"body_bytes": 1 << 20}},
        {"engines": {"yara": {"enabled": False}, "archive": {"enabled": False}}},
        {"policy": [{"name": "mine", "action": "allow", "when": {"host": "a.b"}}]},
    ],
    ids=["body_bytes", "engines", "rules"],
)
def test_it_changes_with_what_all_services_share(tmp_path: Path, tables: dict[str, Any]) -> None:
    assert istag(tmp_path, *SERVICES, **tables) != istag(tmp_path, *SERVICES)


@pytest.mark.parametrize(
    ("services", "tables"),
    [
        ([OTHER, ONE], {}),
        ([{**ONE, "methods": ["RESPMOD", "REQMOD"]}, OTHER], {}),
        ([{**ONE, "max_body_bytes": 1 << 30}, OTHER], {}),
        ([{**ONE, "preview_bytes": 1024, "options_ttl_s": 5}, OTHER], {}),
        (SERVICES, {"server": {"fronts": 2, "max_connections": 7}, "log": {"access": "off"}}),
    ],
    ids=["order", "order of methods", "the default written out", "preview", "server"],
)
def test_it_stays_otherwise(tmp_path: Path, services: list[dict[str, Any]], tables: dict[str, Any]) -> None:
    assert istag(tmp_path, *services, **tables) == istag(tmp_path, *SERVICES)


def test_the_servers_policy_is_that_of_services_without_one(tmp_path: Path) -> None:
    services = [{"path": "/one"}, OTHER]

    assert istag(tmp_path, *services, server={"policy": "strict"}) == istag(tmp_path, *SERVICES)
    assert istag(tmp_path, *services, server={"policy": "balanced"}) != istag(tmp_path, *SERVICES)
