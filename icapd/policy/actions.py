"""What a rule does beside letting pass or blocking: where it redirects to, which headers it adds and removes.

Made from the operator's words when the configuration is loaded; what could break a message is refused there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from icapd.config.schema import Rule
from icapd.errors import Problem
from icapd.policy.facts import HeaderEdits, Redirect

LOCATION_FIELDS = ("url", "host", "user", "client", "rule", "outcome", "finding", "transaction")
EDITS_MAX = 32

_FIELD = re.compile(r"\{([^{}]*)\}")
_LOCATION = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(?:[/?#][!-~]*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[!-~](?:[\t -~]{0,1022}[!-~])?")
_FRAMING = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one hop, and those that say where a body ends and how its bytes are read."""


def redirect_of(rule: Rule) -> Redirect | None:
    """Where a rule sends the client; None for one that sends it nowhere."""
    return None if rule.location is None else Redirect(rule.status, rule.location)


def edits_of(rule: Rule) -> HeaderEdits | None:
    """What a rule changes in the heads of what passes."""
    if not rule.add_headers and not rule.remove_headers:
        return None
    added = "".join(f"{name}: {value}\r\n" for name, value in rule.add_headers.items())
    return HeaderEdits(added.encode("ascii"), tuple(name.lower().encode("ascii") for name in rule.remove_headers))


def location(redirect: Redirect, values: Mapping[str, str]) -> bytes:
    """The Location of one redirect. Each value is percent-encoded whole, so that it stays inside its place."""
    return _FIELD.sub(lambda field: quote(values[field[1]], safe="", errors="replace"), redirect.location).encode(
        "ascii"
    )


def wrong_actions(rule: Rule, where: str) -> Iterable[Problem]:
    """Every way in which a rule's action cannot be meant."""
    yield from _wrong_redirect(rule, where)
    yield from _wrong_edits(rule, where)
    if rule.override and rule.action != "block":
        yield Problem(f"{where}.override", 'is for action = "block"')
    if rule.action not in ("block", "redirect"):
        when = rule.when
        if when.declared_type is not None and when.media_type is None and when.real_type is None:
            what = "is what a sender claims: a rule that lets pass also needs media_type or real_type"
            yield Problem(f"{where}.when.declared_type", what)


def _wrong_redirect(rule: Rule, where: str) -> Iterable[Problem]:
    if rule.action != "redirect":
        if rule.location is not None:
            yield Problem(f"{where}.location", 'is for action = "redirect"')
        return
    if rule.location is None:
        yield Problem(f"{where}.location", "is missing: where to?")
        return
    unknown = [name for name in _FIELD.findall(rule.location) if name not in LOCATION_FIELDS]
    if unknown:
        yield Problem(
            f"{where}.location",
            f"{{{unknown[0]}}} is unknown; there are {' '.join(map('{{{}}}'.format, LOCATION_FIELDS))}",
        )
    elif _LOCATION.fullmatch(_FIELD.sub("{}", rule.location)) is None:
        yield Problem(
            f"{where}.location",
            "wants http://HOST/... or https://HOST/... in printable ASCII, {fields} behind the host",
        )
    methods: Sequence[str] = [rule.when.method] if isinstance(rule.when.method, str) else rule.when.method or []
    if methods and "REQMOD" not in [method.upper() for method in methods]:
        yield Problem(f"{where}.when.method", "only a request can be redirected: REQMOD")


def _wrong_edits(rule: Rule, where: str) -> Iterable[Problem]:
    edits = (("add_headers", list(rule.add_headers)), ("remove_headers", rule.remove_headers))
    for key, names in edits:
        if names and rule.action in ("block", "redirect"):
            yield Problem(f"{where}.{key}", f"nothing passes by a rule that says {rule.action}")
        if len(names) > EDITS_MAX:
            yield Problem(f"{where}.{key}", f"at most {EDITS_MAX} headers, not {len(names)}")
        for name in names:
            if _TOKEN.fullmatch(name) is None:
                yield Problem(f"{where}.{key}", f'"{name}" is no header name')
            elif name.lower() in _FRAMING:
                yield Problem(f"{where}.{key}", f"{name} belongs to one hop or to the framing of the body")
    for name, value in rule.add_headers.items():
        if _VALUE.fullmatch(value) is None:
            yield Problem(
                f"{where}.add_headers.{name}", "wants printable ASCII without line ends, at most 1024 characters"
            )
