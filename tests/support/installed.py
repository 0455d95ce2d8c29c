"""The puppet engine among those that are installed, for the folders of tests whose conftest imports this fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import engines_path


@pytest.fixture(scope="package", autouse=True)
def engines_are_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", engines_path(tmp_path_factory.mktemp("installed")))
        yield
