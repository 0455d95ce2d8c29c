"""Tables that are one more of a remote engine: what they make of the configuration and of the snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from icapd.config.load import load
from icapd.errors import ConfigurationError
from icapd.plugins import build_remote_engines, decode_snapshot, encode_snapshot, gather_snapshot, installed_specs

TWO = """
[engines.icap]
enabled = true
url = "icap://one.example/a"

[engines.second-opinion]
engine = "icap"
enabled = true
required = false
url = "icap://other.example/b"

[engines.third]
engine = "clamd"

[[service]]
path = "/a"
engines = ["yara", "second-opinion"]
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "icapd.toml"
    path.write_text(text)
    return path


def test_each_table_is_an_engine_of_its_own(tmp_path: Path) -> None:
    environ = {"ICAPD_ENGINES__SECOND_OPINION__CONNECTIONS": "3"}
    loaded = load(_written(tmp_path, TWO), installed_specs(), environ=environ)
    engines = loaded.settings.engines
    assert (engines["second-opinion"].url, engines["second-opinion"].connections) == ("icap://other.example/b", 3)
    assert engines["third"].max_bytes == engines["clamd"].max_bytes
    snapshot = decode_snapshot(encode_snapshot(gather_snapshot(engines, loaded.resolve)))
    assert [each.name for each in snapshot.remote] == ["icap", "second-opinion"]
    built = build_remote_engines(snapshot.remote)
    assert [(engine.name, options.required) for engine, options in built] == [
        ("icap", True),
        ("second-opinion", False),
    ]
    without = {name: options for name, options in engines.items() if name != "second-opinion"}
    assert gather_snapshot(without, loaded.resolve).ruleset != snapshot.ruleset


@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        ("[engines.more]\nengine = 'yara'", "engines.more.engine", "there is no remote engine 'yara'"),
        ("[engines.more]\nengine = 'gone'", "engines.more.engine", "there is no remote engine 'gone'"),
        ("[engines.more]\nengine = 5", "engines.more.engine", "there is no remote engine 5"),
        ("[engines.'No Name']\nengine = 'icap'", "engines.No Name", "a name of small letters"),
        ("[engines.icap]\nengine = 'clamd'", "engines.icap.engine", "is for a table with a name of its own"),
        ("[engines.yara]\nengine = 'icap'", "engines.yara.engine", "unknown key"),
        ("[engines.more]\nengine = 'icap'\nurl = 'http://x/'", "engines.more.url", "wants icap://HOST:PORT"),
    ],
)
def test_what_cannot_be_one_more_is_told(tmp_path: Path, table: str, where: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        load(_written(tmp_path, table), installed_specs(), environ={})
    [problem] = [problem for problem in told.value.problems if problem.where == where]
    assert what in problem.what
