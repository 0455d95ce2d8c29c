"""What cannot be meant in the conditions of a rule, in words for the operator."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterable, Sequence

from icapd.config.schema import When
from icapd.errors import Problem
from icapd.policy.conditions import entries
from icapd.policy.outcomes import Result
from icapd.policy.times import parse_days, parse_time
from icapd.scan.model import Severity, Verdict

METHODS = ("REQMOD", "RESPMOD")
_TYPE = "wants type/subtype, as image/* or text/html"
_SEVERITIES = tuple(severity.name.lower() for severity in Severity)


def wrong_conditions(when: When, where: str) -> Iterable[Problem]:
    """Every condition that could never hold, or that is no such condition at all. `where` is the rule's key path."""
    for key in text_conditions():
        condition: str | list[str] | None = getattr(when, key)
        if condition is not None and (not condition or not all(entries(condition))):
            yield Problem(f"{where}.when.{key}", "is empty and would never hold; leave the key out instead")
    for key, check in _CHECKS:
        for text in filter(None, entries(getattr(when, key))):
            if wrong := check(text):
                yield Problem(f"{where}.when.{key}", f'"{text}": {wrong}')
    over, under = when.size_over_bytes, when.size_under_bytes
    if over is not None and under is not None and over + 1 >= under:
        yield Problem(f"{where}.when", f"no size is over {over} and under {under} bytes: the rule would never hold")


def text_conditions() -> tuple[str, ...]:
    """The keys of the conditions that are one text or several."""
    return tuple(key for key in When.model_fields if not key.startswith("size_"))


def _wrong_word(what: str, text: str, names: Sequence[str]) -> str:
    if text in names:
        return ""
    close = difflib.get_close_matches(text, names, n=1)
    return f"is no {what}; did you mean {close[0]}?" if close else f"is no {what}; they are {' '.join(names)}"


def _wrong_method(text: str) -> str:
    return "" if text.upper() in METHODS else "wants REQMOD or RESPMOD; the HTTP request's method is http_method"


def _wrong_host(text: str) -> str:
    return "wants a host name, as example.org or .example.org" if "/" in text or not text.strip(".") else ""


def _wrong_type(text: str) -> str:
    return "" if text == "*" or "/" in text else _TYPE


def _wrong_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "wants an address or a network, as 192.0.2.7 or 192.0.2.0/24"
    return ""


_CHECKS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("verdict", lambda text: _wrong_word("verdict", text.upper(), list(Verdict))),
    ("outcome", lambda text: _wrong_word("outcome", text.lower(), list(Result))),
    ("severity", lambda text: _wrong_word("severity", text.lower(), _SEVERITIES)),
    ("method", _wrong_method),
    ("client", _wrong_network),
    ("host", _wrong_host),
    ("media_type", _wrong_type),
    ("declared_type", _wrong_type),
    ("real_type", _wrong_type),
    ("extension", lambda text: "wants the extension without a dot, as exe" if "." in text else ""),
    ("time", lambda text: "" if parse_time(text) else "wants HH:MM-HH:MM, as 08:00-18:00 or 22:00-06:00"),
    ("weekday", lambda text: "" if parse_days(text) else "wants a day or days, as sun or mon-fri"),
)
