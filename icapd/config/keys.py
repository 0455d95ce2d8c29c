"""The tree of configuration keys: which there are, how a key path is written, which one a misspelt key meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from icapd.config.schema import Settings
from icapd.scan.engine_api import EngineSpec

Keys = tuple[str, ...]


def table_of(annotation: object) -> type[BaseModel] | None:
    """The model behind a key that is a table, a list of tables or an optional table; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(table_of, get_args(annotation))), None)


def plain_keys(specs: Mapping[str, EngineSpec]) -> dict[Keys, FieldInfo]:
    """Every key with a value of its own, as ("cache", "memcached", "servers"); an array of tables is one value."""
    keys = dict(_plain_keys(Settings, ()))
    del keys["engines",]
    for name, spec in specs.items():
        keys.update(_plain_keys(spec.options, ("engines", name)))
    return keys


def _plain_keys(model: type[BaseModel], prefix: Keys) -> Iterator[tuple[Keys, FieldInfo]]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _plain_keys(annotation, (*prefix, name))
        else:
            yield (*prefix, name), field


def key_path(keys: Iterable[str | int]) -> str:
    """Written as operators read it: service[2].preview_bytes."""
    path = ""
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A half sentence for an unknown name, empty when nothing is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def names_at(model: type[BaseModel], keys: Sequence[str | int]) -> list[str]:
    """The keys that the table at this place may have."""
    for key in keys:
        if isinstance(key, str):
            inner = table_of(model.model_fields[key].annotation) if key in model.model_fields else None
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)
