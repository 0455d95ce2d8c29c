"""The rules as one file: scanners read the first part, fronts map the second."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from engines.urls import SPEC, UrlOptions
from engines.yara import YaraOptions
from icapd.errors import ConfigurationError
from icapd.plugins import RulesetSnapshot, gather_snapshot
from icapd.scan.engine_api import EngineOptions
from icapd.service import try_rules
from icapd.worker.memfd import make_memfd
from icapd.worker.rules import blank_rules, make_rules, map_url_engines, read_rules
from tests.support.engines import ROOT

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


def test_nobody_can_change_them(tmp_path: Path) -> None:
    descriptor = make_rules(gathered(tmp_path, "example.org\n"))
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"other", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 20)
    with pytest.raises(PermissionError):
        mmap.mmap(descriptor, 0)
    os.close(descriptor)


def test_children_are_given_the_rules_that_were_tried() -> None:
    snapshot = gather_snapshot({"yara": YaraOptions()}, lambda text: ROOT / text)
    descriptor = blank_rules()
    assert try_rules(snapshot, None, descriptor).finds_eicar
    (engine,) = read_rules(descriptor).engines
    os.close(descriptor)
    assert engine.is_compiled
    assert not {*snapshot.engines[0].material} & {*engine.material}


def test_rules_that_are_cut_off_are_no_rules(tmp_path: Path) -> None:
    whole = make_rules(gathered(tmp_path, "example.org\n"))
    descriptor = make_memfd("cut-off", os.pread(whole, 20, 0))
    os.close(whole)
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
