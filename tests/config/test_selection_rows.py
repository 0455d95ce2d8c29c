"""Rows of [[selection]] that contradict each other or name what cannot be left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from icapd.config.load import load
from icapd.errors import ConfigurationError
from icapd.plugins import installed_specs


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ('[[selection]]\nskips = ["hashes"]', 'selection[0].skips: "hashes" sees every sample'),
        ('[[selection]]\nskips = ["identify"]', 'selection[0].skips: "identify" sees every sample'),
        ('[[selection]]\nskips = ["pfd"]', 'selection[0].skips: no engine "pfd" is installed'),
        ("[[selection]]\n[[selection]]", "selection[1].max_risk: another row has 0, too"),
    ],
)
def test_wrong_rows_are_told(tmp_path: Path, rows: str, problem: str) -> None:
    path = tmp_path / "icapd.toml"
    path.write_text(rows)
    with pytest.raises(ConfigurationError) as refused:
        load(path, installed_specs(), {}, {})
    assert problem in str(refused.value)


def test_no_row_at_all(tmp_path: Path) -> None:
    path = tmp_path / "icapd.toml"
    path.write_text("selection = []\n")
    assert load(path, installed_specs(), {}, {}).settings.selection == []
