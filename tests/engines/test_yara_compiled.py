"""Rules that were compiled in one process and are used in another say what their sources say."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.yara import SPEC, YaraOptions
from engines.yara.compilers import Backend
from engines.yara.engine import YaraEngine
from tests.engines.forked_scan import built_of_compiled
from tests.engines.test_yara import EVERY, NEEDLE, ONLY_YARA, scan

CONTENT = b"the needle, and YWI"


@pytest.mark.parametrize("backend", EVERY)
def test_they_find_the_same(tmp_path: Path, backend: Backend) -> None:
    told = NEEDLE.replace("needle {", "needle : forbidden { meta: severity = 30 ", 1)
    files = {"a": told} if backend != "auto" else {"a": told, "b": NEEDLE, "c": ONLY_YARA}
    for name, source in files.items():
        (tmp_path / f"{name}.yar").write_text(source)
    options = YaraOptions(rules=[str(tmp_path)], backend=backend)
    material = SPEC.gather(options, Path)
    of_sources = SPEC.build(options, material)
    assert isinstance(of_sources, YaraEngine)
    expected = scan(of_sources, CONTENT).findings
    assert scan(built_of_compiled(options, material), CONTENT).findings == expected
    assert len(expected) == len(files)


def test_no_rules_compile_to_none(tmp_path: Path) -> None:
    (tmp_path / "empty.yar").write_text("")
    options = YaraOptions(rules=[str(tmp_path)])
    engine = built_of_compiled(options, SPEC.gather(options, Path))
    assert scan(engine, CONTENT).findings == ()
