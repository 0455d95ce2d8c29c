"""Two small engines, and a configuration file written and loaded in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import Field

from icapd.config.load import Loaded, load
from icapd.errors import ConfigurationError
from icapd.scan.engine_api import EngineOptions, EngineSpec


class ListOptions(EngineOptions):
    rules: list[str] = Field(["conf/rules"], description="rule files")
    depth: int = Field(3, ge=1, le=9, description="how deep")
    label: str | None = Field(None, description="a label")


class RemoteOptions(EngineOptions):
    server: str = Field("127.0.0.1:3310", description="where it listens")


def spec(name: str, options: type[EngineOptions]) -> EngineSpec:
    return EngineSpec(name, options, lambda options, resolve: {}, lambda options, material: object(), lambda: "1")


SPECS = {"lists": spec("lists", ListOptions), "far-away": spec("far-away", RemoteOptions)}

Load = Callable[..., Loaded]
Refuse = Callable[..., dict[str, str]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Writes the text to a file and loads it."""

    def loaded(
        text: str = "", overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded:
        path = tmp_path / "icapd.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, SPECS, overrides or {}, environ or {})

    return loaded


@pytest.fixture
def refuse_text(load_text: Load) -> Refuse:
    """Loads what must be refused; returns the problems as {where: what}."""

    def refused(
        text: str = "", overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        with pytest.raises(ConfigurationError) as error:
            load_text(text, overrides, environ)
        problems = {problem.where: problem.what for problem in error.value.problems}
        assert len(problems) == len(error.value.problems)
        return problems

    return refused
