"""Nothing of the benign set may be anything but CLEAN under the default configuration, by engines, rules and policy."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from icapd.scan.model import Finding, Verdict
from icapd.scan.pipeline import in_context
from tests.benign import bundles, documents, installed, pages, pictures, scripts
from tests.cli.command import icapd
from tests.support.judging import default_engines, judge

KINDS = {module.__name__.rpartition(".")[2]: module for module in (pages, scripts, pictures, documents, bundles)}
RULES = Path(__file__).parents[2] / "conf" / "rules"


@cache
def bodies_of(kind: str) -> Mapping[str, bytes]:
    """Those of one kind, each made once."""
    return {f"{kind}/{name}": data for name, data in KINDS[kind].bodies()}


def made() -> dict[str, bytes]:
    """All that are made here."""
    return {name: data for kind in KINDS for name, data in bodies_of(kind).items()}


@cache
def installed_bodies() -> Mapping[str, bytes]:
    return dict(installed.bodies())


def flagged(bodies: Mapping[str, bytes]) -> dict[str, tuple[Finding, ...]]:
    """The findings of those that are not CLEAN under their names."""
    found = {}
    for name, data in bodies.items():
        declared = mimetypes.guess_type(name)[0] or ""
        report = in_context(judge(data), declared, Path(name).suffix[1:])
        if report.verdict is not Verdict.CLEAN:
            found[name] = report.findings
    return found


def test_the_set_is_large_and_broad() -> None:
    assert len(made()) > 300
    assert len(installed_bodies()) > 100
    assert len({name.rpartition(".")[2] for name in made()}) > 100
    kinds = {Path(name).suffix for name in installed_bodies()}
    assert kinds >= {".py", ".pyi", ".pyc", ".so", ".ttf", ".docx", ".xml", ".html", ".js", ".css", ".png", ".h"}


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_a_kind_are_clean(kind: str) -> None:
    assert flagged(bodies_of(kind)) == {}


def test_shipped_rules_are_clean() -> None:
    """Who downloads icapd does so through a gateway."""
    rules = {path.name: path.read_bytes() for path in RULES.glob("*.yar") if path.name != "eicar.yar"}
    assert rules
    assert flagged(rules) == {}


def test_installed_files_are_clean() -> None:
    reports = {name: judge(data) for name, data in installed_bodies().items()}
    assert {name: report.findings for name, report in reports.items() if report.verdict is not Verdict.CLEAN} == {}


def test_the_command_says_the_same(tmp_path: Path) -> None:
    for name, data in made().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    ended = icapd("scan", "--json", "--policy", "strict", tmp_path)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    files = [line for line in lines if "path" in line]
    not_clean = {
        line["path"]: line["findings"] for line in files if (line["verdict"], line["action"]) != ("CLEAN", "allow")
    }
    assert not_clean == {}
    assert len(files) == len(made())
    assert ended.status == 0


def test_every_engine_looked() -> None:
    assert {engine.name for engine in default_engines().engines} >= {"yara", "hashes"}
    assert {unpacker.name for unpacker in default_engines().unpackers} >= {"archive", "embedded", "office", "pdf"}
