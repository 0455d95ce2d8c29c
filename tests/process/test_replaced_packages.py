"""An engine's package is replaced under a running server: what it cannot build any more must not end it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icapd.plugins import GROUP
from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, trees, verdict, wait_ready
from tests.support.eicar import EICAR

NAME = "replaced"
MODULE = """
from pathlib import Path

from icapd.scan.engine_api import EngineOptions, EngineSpec
from icapd.scan.model import EngineReport, Outcome


class Engine:
    name = "replaced"

    def scan(self, sample, budget):
        return EngineReport(self.name, Outcome.NOTHING_FOUND)


def version():
    return Path(__file__).with_name("version").read_text()


SPEC = EngineSpec("replaced", EngineOptions, lambda options, resolve: {}, lambda options, material: Engine(), version)
"""


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed engine whose version is what this file says."""
    package = tmp_path / "packages" / "icapd_replaced-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: icapd-replaced\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[{GROUP}]\n{NAME} = replaced_engine:SPEC\n")
    (package.parent / "replaced_engine.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ["PYTHONPATH"]]))
    path = package.parent / "version"
    path.write_text("1")
    return path


def test_what_still_works_goes_on_and_building_is_tried_again(serve: Serve, version: Path) -> None:
    server = serve({"engines": {NAME: {"enabled": True}}})
    assert verdict(ask(server, CLEAN)) == "CLEAN"
    [tree] = trees(server)
    version.write_text("2")
    os.kill(tree.nursery, 9)
    server.child.wait_until(lambda: '"build-failed"' in server.child.output(), "it says so")

    assert "was replaced by 2 on disk" in server.child.output()
    assert server.admin("/readyz")[0] == 503
    assert verdict(ask(server, CLEAN)) == "CLEAN"  # remembered
    version.write_text("1")
    wait_ready(server)
    assert verdict(ask(server, EICAR)) == "MALICIOUS"
    assert [each.pid for each in trees(server)] == [tree.pid]
