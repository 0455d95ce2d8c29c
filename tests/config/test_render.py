"""The rendered configuration: complete, loadable, and what conf/icapd.toml holds."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from icapd.config.keys import table_of
from icapd.config.load import load
from icapd.config.render import WIDTH, main, render_defaults, render_settings, toml_value
from icapd.config.schema import Settings
from icapd.config.shipped import shipped_conf
from icapd.plugins import installed_specs
from tests.config.conftest import SPECS, Load


def key_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        inner = table_of(field.annotation)
        if inner is not None:
            yield from key_names(inner)


def test_the_shipped_file_is_what_the_schema_renders(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert (shipped_conf() / "icapd.toml").read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_shipped_file_loads_as_the_defaults() -> None:
    specs = installed_specs()
    shipped = load(shipped_conf() / "icapd.toml", specs, environ={})
    assert shipped.settings == load(None, specs, environ={}).settings


def test_every_key_is_shown_with_its_meaning() -> None:
    text = render_defaults(SPECS)
    for name in {*key_names(Settings), "rules", "depth", "label", "server"}:
        assert re.search(rf"^#?(\[+|.*\.|when\.)?{name}( = |\.|\]+$)", text, re.MULTILINE), name
    assert "# how deep (1 to 9)\ndepth = 3\n" in text
    assert '# a label\n#label = ""\n' in text
    assert all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize(
    "line",
    [
        '# hold client connections; auto = a quarter of the cores, at least 2 of 2 ("auto" or 1 to 64)',
        "# one ICAP head (1 KiB to 1 MiB)",
        "head_bytes = 65536  # 64 KiB",
        "# one whole body; long polling takes its time (above 0 to 86_400)",
        "# one body, whatever the service allows (1 or more)",
        "# REQMOD, RESPMOD or both (at least 1 entry)",
        "# shown on the block page: whom to ask (up to 200 characters)",
        '# of the access lines ("json" or "text")',
        "#preview_bytes = 1024  # 1 KiB",
    ],
)
def test_bounds_and_choices_are_shown(line: str) -> None:
    assert line in render_defaults(SPECS).splitlines()


def test_defaults_load_as_defaults(load_text: Load) -> None:
    assert load_text(render_defaults(SPECS)).settings == load_text().settings


def test_every_example_is_valid() -> None:
    text = re.sub(r"^#(?=[a-z\[])", "", render_defaults({}), flags=re.MULTILINE)
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.policy[0].when.size_under_bytes == 100 * 1024 * 1024
    assert None not in settings.service[0].model_dump().values()


def test_the_values_in_force_load_as_themselves(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"only-in-the-file" * 2)
    (tmp_path / "secret").chmod(0o600)
    settings = load_text(
        """
        [server]
        policy = "strict"
        [cache]
        secret_file = "secret"
        [pages]
        contact = "a \\"quoted\\" \\\\ text\\u007f\\n"
        [engines.lists]
        rules = ["one", "two"]
        [[policy]]
        name = "r"
        action = "block"
        when = { host = [".a.test", "b"], size_over_bytes = 5 }
        """
    ).settings
    text = render_settings(settings)
    assert load_text(text).settings == settings
    assert "only-in-the-file" not in text
    assert "\n[server]\n" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (5, "5"),
        (0.5, "0.5"),
        ('a"b\\', '"a\\"b\\\\"'),
        ("\x7f\x00", '"\\u007F\\u0000"'),
        ([], "[]"),
        (["a", 1], '["a", 1]'),
        ({}, "{}"),
        ({"a b": 1, "c": [True]}, '{ "a b" = 1, c = [true] }'),
    ],
)
def test_values_in_toml(value: object, text: str) -> None:
    assert toml_value(value) == text
    assert tomllib.loads(f"v = {text}")["v"] == value


def test_a_long_list_takes_a_line_for_each_entry() -> None:
    names = [f"entry-number-{number}" for number in range(10)]
    text = toml_value(names)
    assert text.count("\n") == 11
    assert tomllib.loads(f"v = {text}")["v"] == names
