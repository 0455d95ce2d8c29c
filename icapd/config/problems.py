"""Turns what the validator found into problems an operator can act on: a key path and plain English."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from icapd.config.keys import did_you_mean, key_path, names_at
from icapd.errors import Problem

SHOWN_CHARACTERS = 60
MAX_NUMBER = (1 << 63) - 1

_WANTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a table",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "of the form {pattern}",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
}
"""What the key must be, by the validator's error type and its context."""


def problems_of(
    error: ValidationError, model: type[BaseModel], data: object, prefix: tuple[str, ...] = ()
) -> list[Problem]:
    """One problem for each key that is wrong. A key with several forms ("auto" or a number) is one problem.

    `data` is what was validated as `model`; `prefix` is where it stands in the configuration.
    """
    by_place: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_place.setdefault(tuple(_place(detail, data)), []).append(detail)
    return [
        Problem(key_path((*prefix, *place)), _what(details, names_at(model, place[:-1])))
        for place, details in by_place.items()
    ]


def unusable(value: object, keys: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Values that TOML can write and nothing can use: no path has a zero, no number of ours more than 64 bits."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from unusable(inside, (*keys, key))
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from unusable(inside, (*keys, index))
    elif isinstance(value, int) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        yield Problem(key_path(keys), f"must be at most {MAX_NUMBER}, not {_shown(value)}")
    elif isinstance(value, str) and "\0" in value:
        yield Problem(key_path(keys), f"must be without the character of number 0, not {_shown(value)}")


def _place(detail: ErrorDetails, data: object) -> Iterator[str | int]:
    """The key path in the data. The validator's own also names the branch of a union that failed."""
    inside: Any = data
    for key in detail["loc"]:
        if isinstance(key, int) if isinstance(inside, list) else (isinstance(inside, dict) and key in inside):
            inside = inside[key]
        elif detail["type"] != "missing":
            return
        yield key


def _what(details: list[ErrorDetails], names: list[str]) -> str:
    first = details[0]
    if first["type"] == "extra_forbidden":
        return "unknown key" + did_you_mean(str(first["loc"][-1]), names)
    if first["type"] == "missing":
        return "is missing"
    if all(detail["type"] in _WANTED for detail in details):
        wanted = dict.fromkeys(_WANTED[detail["type"]].format(**detail.get("ctx", {})) for detail in details)
        return f"must be {' or '.join(wanted)}, not {_shown(first['input'])}".replace("'", '"')
    return "; ".join(dict.fromkeys(_message(detail) for detail in details))


def _message(detail: ErrorDetails) -> str:
    cause = detail.get("ctx", {}).get("error")
    return f"{_shown(detail['input'])}: {cause if cause else detail['msg']}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
