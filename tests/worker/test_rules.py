"""The rules as one file: scanners read the first part, fronts map the second."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.urls import SPEC, UrlOptions
from icapd.errors import ConfigurationError
from icapd.plugins import RulesetSnapshot, gather_snapshot
from icapd.scan.engine_api import EngineOptions
from icapd.worker.rules import make_rules, map_url_engines, read_rules

SPECS = {"urls": SPEC}


def gathered(folder: Path, text: str | None) -> RulesetSnapshot:
    lists = []
    if text is not None:
        (folder / "list").write_text(text)
        lists = [{"path": str(folder / "list")}]
    options: dict[str, EngineOptions] = {"urls": UrlOptions.model_validate({"lists": lists})}
    return gather_snapshot(options, Path, SPECS)


def test_tables_are_mapped_and_outlive_their_descriptor(tmp_path: Path) -> None:
    snapshot = gathered(tmp_path, "example.org\n")
    descriptor = make_rules(snapshot)
    (engine,) = map_url_engines(descriptor)
    os.close(descriptor)
    assert [finding.name for finding in engine.look_up("www.example.org", "", b"/")] == ["list"]
    assert engine.look_up("example.com", "", b"/") == ()


def test_scanners_are_not_given_the_tables(tmp_path: Path) -> None:
    snapshot = gathered(tmp_path, "example.org\n")
    descriptor = make_rules(snapshot)
    read = read_rules(descriptor)
    os.close(descriptor)
    assert read.engines == snapshot.engines == ()
    assert (read.ruleset, read.url_ruleset) == (snapshot.ruleset, snapshot.url_ruleset)
    assert [dict(engine.material) for engine in read.url_engines] == [{}]


def test_an_engine_without_lists_is_not_asked(tmp_path: Path) -> None:
    descriptor = make_rules(gathered(tmp_path, None))
    assert map_url_engines(descriptor) == ()
    os.close(descriptor)
    descriptor = make_rules(gather_snapshot({}, Path, SPECS))
    assert map_url_engines(descriptor) == ()
    os.close(descriptor)


def test_rules_that_are_cut_off_are_no_rules(tmp_path: Path) -> None:
    descriptor = make_rules(gathered(tmp_path, "example.org\n"))
    os.ftruncate(descriptor, 20)
    with pytest.raises(EOFError):
        read_rules(descriptor)
    os.close(descriptor)


def test_lists_change_their_own_id_alone(tmp_path: Path) -> None:
    first, same, other = (gathered(tmp_path, text) for text in ("a.example\n", "a.example\n", "b.example\n"))
    assert first == same
    assert first.ruleset == other.ruleset
    assert first.url_ruleset != other.url_ruleset


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    options: dict[str, EngineOptions] = {"urls": UrlOptions.model_validate({"lists": [{"path": "gone"}]})}
    with pytest.raises(ConfigurationError, match="No such file"):
        gather_snapshot(options, lambda text: tmp_path / text, SPECS)
