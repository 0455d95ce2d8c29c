"""Writes the configuration as TOML: every key at its default with its meaning (conf/icapd.toml), or what is in force.

`python -m icapd.config.render > conf/icapd.toml` writes the shipped file anew.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from icapd.config.keys import table_of
from icapd.config.schema import Settings
from icapd.plugins import installed_specs
from icapd.scan.engine_api import EngineSpec

WIDTH = 118

_HEAD = """\
# icapd: every key at its default. What you leave out keeps the value shown here; a key behind a # is unset, and shown
# with an example. Relative paths start at this file's folder; conf/... that is not there is the shipped file.
#
# ICAPD_SECTION__KEY in the environment (ICAPD_CACHE__TTL_CLEAN_S=600) overrides this file, and the command line both.
"""

_ABOUT = {
    "selection": "Which engines see a sample, how long and how deep, by its risk (docs/selection.md). The row with"
    " the lowest max_risk that a sample does not pass holds; above all rows everything is done. With one of your own,"
    " the shipped row is gone; selection = [] shows every engine everything.",
    "service": "One [[service]] for each path that clients may ask for. With one of your own, these are gone.",
    "client": "What asks from where: the first that holds a client's address goes before the service's own profile.",
    "engines": "One table for each engine. An engine that is not installed cannot be named here.",
    "policy": "Your own rules, asked in order before those of the shipped policy; the first that holds decides.",
}


def render_defaults(specs: Mapping[str, EngineSpec]) -> str:
    """The whole schema with comments. Loading the result gives exactly the defaults."""
    return "\n".join([_HEAD.rstrip(), *_documented(Settings, "", specs), ""])


def render_settings(settings: Settings) -> str:
    """The values in force. Secrets are not among them: the settings only name their files."""
    return "\n".join(_plain(settings.model_dump(mode="json", exclude_none=True), "")).strip() + "\n"


def toml_value(value: object) -> str:
    """One value in TOML; long lists take a line for each entry."""
    match value:
        case list() | tuple():
            entries = [toml_value(entry) for entry in value]
            line = f"[{', '.join(entries)}]"
            return (
                line if len(line) <= WIDTH - 30 else "".join(["[\n", *(f"    {entry},\n" for entry in entries), "]"])
            )
        case dict():
            pairs = (f"{key_in_toml(str(key))} = {toml_value(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case bool() | int() | float():
            return str(value).lower()
        case _:
            # TOML's basic strings are JSON's, but for DEL.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def key_in_toml(key: str) -> str:
    """A key, quoted where TOML wants it."""
    return (
        key if key and all(char.isascii() and (char.isalnum() or char in "-_") for char in key) else toml_value(key)
    )


def _plain(table: Mapping[str, Any], path: str) -> Iterator[str]:
    arrays = {key: value for key, value in table.items() if _is_array_of_tables(value)}
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in arrays and key not in tables:
            yield f"{key_in_toml(key)} = {toml_value(value)}"
    for key, value in tables.items():
        yield from ("", f"[{path}{key_in_toml(key)}]")
        yield from _plain(value, f"{path}{key_in_toml(key)}.")
    for key, value in arrays.items():
        for entry in value:
            yield from ("", f"[[{path}{key_in_toml(key)}]]")
            yield from _plain(entry, f"{path}{key_in_toml(key)}.")


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _documented(model: type[BaseModel], path: str, specs: Mapping[str, EngineSpec]) -> Iterator[str]:
    """The keys of a table, then the tables inside it."""
    for name, field in model.model_fields.items():
        if table_of(field.annotation) is None and (model, name) != (Settings, "engines"):
            yield from _documented_key(name, field, field.get_default(call_default_factory=True))
    for name, field in model.model_fields.items():
        inner = table_of(field.annotation)
        if (model, name) == (Settings, "engines"):
            yield from ("", *_comment(_ABOUT[name]))
            for engine, spec in sorted(specs.items()):
                yield from ("", f"[engines.{key_in_toml(engine)}]")
                yield from _documented(spec.options, f"engines.{key_in_toml(engine)}.", {})
        elif inner is not None and _is_table(field):
            yield from ("", f"[{path}{name}]", *_documented(inner, f"{path}{name}.", {}))
        elif inner is not None:
            yield from ("", *_comment(_ABOUT.get(name, field.description or "")))
            yield from _documented_array(path + name, inner, field.get_default(call_default_factory=True) or [])


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _documented_array(name: str, model: type[BaseModel], entries: list[BaseModel]) -> Iterator[str]:
    """An array of tables: the first with every key and its meaning, of the others what differs from the defaults."""
    if not entries:
        yield f"#[[{name}]]"
        yield from _examples(model, "")
    for index, entry in enumerate(entries):
        yield from ("",) if index else ()
        yield f"[[{name}]]"
        for key, field in model.model_fields.items():
            value = getattr(entry, key)
            if index == 0:
                yield from _documented_key(key, field, value)
            elif value != field.get_default(call_default_factory=True):
                yield f"{key} = {toml_value(value)}"


def _examples(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        inner = table_of(field.annotation)
        if inner is not None:
            yield from _comment(field.description or "")
            yield from _examples(inner, f"{key}.")
        else:
            yield from _documented_key(f"{prefix}{key}", field, None)


def _documented_key(name: str, field: FieldInfo, value: object) -> Iterator[str]:
    """The meaning, the bounds, then the key; one that is unset is commented out, with an example."""
    is_bytes = name.endswith("_bytes")
    bounds = _bounds(field.annotation, field.metadata, is_bytes=is_bytes)
    yield from _comment(f"{field.description or ''} ({bounds})" if bounds else field.description or "")
    shown = _example(field) if value is None else value
    size = f"  # {_size(shown)}" if is_bytes and isinstance(shown, int) and _size(shown) != str(shown) else ""
    yield f"{'#' if value is None else ''}{name} = {toml_value(shown)}{size}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _example(field: FieldInfo) -> object:
    if field.examples:
        return field.examples[0]
    kinds = {field.annotation, *get_args(field.annotation)}
    if any(get_origin(kind) is list for kind in kinds):
        return []
    return 0 if kinds & {int, float} else False if bool in kinds else ""


def _bounds(annotation: object, metadata: list[Any], *, is_bytes: bool) -> str:
    """What values are allowed, in words: "auto" or 1 to 64."""
    if get_origin(annotation) is Literal:
        return " or ".join(toml_value(choice) for choice in get_args(annotation))
    found: dict[type, Any] = {}
    for entry in metadata:
        found |= {type(part): part for part in (entry.metadata if isinstance(entry, FieldInfo) else [entry])}
    if get_origin(annotation) is list:
        return _length(found, "entry", "entries")
    if annotation is str:
        return _length(found, "character", "characters")
    inner: list[str] = []
    for part in get_args(annotation):
        base, *more = get_args(part) if hasattr(part, "__metadata__") else (part,)
        inner.append(_bounds(base, more, is_bytes=is_bytes))
    return " or ".join(filter(None, [*inner, _range(found, is_bytes=is_bytes)]))


def _length(found: Mapping[type, Any], one: str, many: str) -> str:
    least = found[MinLen].min_length if MinLen in found else 0
    most = found[MaxLen].max_length if MaxLen in found else 0
    if most:
        return f"{least} to {most} {many}" if least else f"up to {most} {many}"
    return f"at least {least} {one if least == 1 else many}" if least else ""


def _range(found: Mapping[type, Any], *, is_bytes: bool) -> str:
    def number(value: float) -> str:
        return _size(int(value)) if is_bytes else f"{value:_}"

    low = number(found[Ge].ge) if Ge in found else f"above {number(found[Gt].gt)}" if Gt in found else ""
    high = number(found[Le].le) if Le in found else f"below {number(found[Lt].lt)}" if Lt in found else ""
    if low and high:
        return f"{low} to {high}"
    return f"{low} or more" if Ge in found else low or (f"up to {high}" if Le in found else high)


def _size(size_bytes: int) -> str:
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return str(size_bytes)


def main() -> None:
    """Writes conf/icapd.toml's content: the engines that come with icapd, and no third party's."""
    own = {name: spec for name, spec in installed_specs().items() if spec.options.__module__.startswith("engines.")}
    sys.stdout.write(render_defaults(own))


if __name__ == "__main__":
    main()
