"""Nothing of the benign set may be anything but CLEAN under the default configuration, by engines, rules and policy."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path

import pytest

from icapd.scan.model import Verdict
from icapd.scan.pipeline import in_context
from tests.benign import bundles, documents, installed, pages, pictures, scripts
from tests.cli.command import icapd
from tests.support.judging import default_engines, judge

MADE = {
    f"{module.__name__.rpartition('.')[2]}/{name}": data
    for module in (pages, scripts, pictures, documents, bundles)
    for name, data in module.bodies()
}
INSTALLED = dict(installed.bodies())
RULES = Path(__file__).parents[2] / "conf" / "rules"
SHIPPED = {f"rules/{path.name}": path.read_bytes() for path in RULES.glob("*.yar") if path.name != "eicar.yar"}
"""icapd's own rules: who downloads icapd does so through a gateway."""


def test_the_set_is_large_and_broad() -> None:
    assert len(MADE) > 300
    assert len(INSTALLED) > 100
    assert len({name.rpartition(".")[2] for name in MADE}) > 100
    kinds = {Path(name).suffix for name in INSTALLED}
    assert kinds >= {".py", ".pyi", ".pyc", ".so", ".ttf", ".docx", ".xml", ".html", ".js", ".css", ".png", ".h"}


@pytest.mark.parametrize("name", [*MADE, *SHIPPED])
def test_it_is_clean(name: str) -> None:
    report = judge({**MADE, **SHIPPED}[name])
    declared = mimetypes.guess_type(name)[0] or ""
    report = in_context(report, declared, Path(name).suffix[1:])
    assert report.verdict is Verdict.CLEAN, report.findings


def test_installed_files_are_clean() -> None:
    reports = {name: judge(data) for name, data in INSTALLED.items()}
    assert {name: report.findings for name, report in reports.items() if report.verdict is not Verdict.CLEAN} == {}


def test_the_command_says_the_same(tmp_path: Path) -> None:
    for name, data in MADE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    ended = icapd("scan", "--json", "--policy", "strict", tmp_path)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    files = [line for line in lines if "path" in line]
    flagged = {
        line["path"]: line["findings"] for line in files if (line["verdict"], line["action"]) != ("CLEAN", "allow")
    }
    assert flagged == {}
    assert len(files) == len(MADE)
    assert ended.status == 0


def test_every_engine_looked() -> None:
    assert {engine.name for engine in default_engines().engines} >= {"yara", "hashes"}
    assert {unpacker.name for unpacker in default_engines().unpackers} >= {"archive", "embedded", "office", "pdf"}
