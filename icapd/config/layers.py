"""The layers over the configuration file: ICAPD_ variables of the environment, then the command line.

A value is read as TOML (5, true, ["a", "b"]); what is not TOML, or not of the key's type as TOML, is the text itself,
so ICAPD_LOG__LEVEL=debug needs no quotes, and one text for a key that is a list is a list of one. Commas separate
nothing: they occur in values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from icapd.config.keys import Keys, did_you_mean
from icapd.errors import Problem

PREFIX = "ICAPD_"

_KUBERNETES = re.compile(
    r"ICAPD(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes puts into every pod beside a Service named icapd or icapd-*: not meant for us, no typing error."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value for one key from outside the file. `source` is how its author wrote the key."""

    source: str
    keys: Keys
    text: str


def from_environment(environ: Mapping[str, str], known: Iterable[Keys]) -> Iterator[Override]:
    """ICAPD_CACHE__MEMCACHED__SERVERS is cache.memcached.servers. A hyphen in an engine's name is written as _."""
    spelt = {tuple(key.replace("-", "_") for key in keys): keys for keys in known}
    for name in sorted(environ):
        if name.startswith(PREFIX) and not _KUBERNETES.fullmatch(name):
            keys = tuple(name.removeprefix(PREFIX).lower().split("__"))
            yield Override(name, spelt.get(keys, keys), environ[name])


def from_command_line(overrides: Mapping[str, str]) -> Iterator[Override]:
    """Dotted keys, as server.listen."""
    for name, text in overrides.items():
        yield Override(name, tuple(name.split(".")), text)


def apply(data: dict[str, Any], override: Override, known: Mapping[Keys, FieldInfo]) -> Iterator[Problem]:
    """Puts the value into the data; yields the problem when there is no such key."""
    if override.keys not in known:
        names = (".".join(keys) for keys in known)
        yield Problem(override.source, "there is no such key" + did_you_mean(".".join(override.keys), names))
        return
    table: Any = data
    *path, last = override.keys
    for key in path:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return  # the file has a plain value where a table belongs; that is its own problem
    table[last] = _value(override.text, known[override.keys])


def _value(text: str, field: FieldInfo) -> object:
    """The first reading of the text that fits the key; for none, the one that is wrong only deep inside."""
    form: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[object] = TypeAdapter(form)
    failed: list[tuple[int, object]] = []
    for reading in (*_toml_reading(text), text, [text]):
        try:
            adapter.validate_python(reading)
        except ValidationError as error:
            failed.append((max(len(detail["loc"]) for detail in error.errors()), reading))
        else:
            return reading
    return max(failed, key=itemgetter(0))[1]


def _toml_reading(text: str) -> Iterator[object]:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return
    if len(table) == 1:  # a line break in the text could have started a second key
        yield table["value"]
