"""The page a blocked user sees. Draws it from a template and facts; reads no file and knows no HTTP.

Everything in PageFacts may come from a peer: a URL, a host, a finding named after a file in an archive. It is capped,
cleared of control and direction-changing characters, and escaped by the template engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import jinja2

from icapd.errors import ConfigurationError, Problem
from icapd.policy.outcomes import report_result
from icapd.scan.model import ScanReport, Verdict

URL_CHARACTERS = 300
NAME_CHARACTERS = 120
REASON_CHARACTERS = 400
FINDINGS_SHOWN = 10

_ENVIRONMENT = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)

_LAST_RESORT = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>Blocked</title>'
    b"<main><h1>Blocked</h1><p>This content was blocked by the security gateway.</p></main></html>\n"
)
"""For a template that fails on facts it was never tried with: the content stays blocked, the page is plain."""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page may show. Empty is unknown. `url` may have a query: it is cut off before it is shown."""

    verdict: Verdict
    rule: str
    reason: str = ""
    findings: tuple[str, ...] = ()
    url: str = ""
    host: str = ""
    transaction: str = ""
    contact: str = ""
    outcome: str = ""


_TRIALS = [
    facts
    for verdict in Verdict
    for facts in (
        PageFacts(verdict, "rule"),
        PageFacts(verdict, "rule", "reason", ("a", "b"), "http://example.org/", "example.org", "id", "contact"),
    )
]
"""What a template is tried with: each verdict with everything else known, and with nothing."""


class BlockPage:
    """A template, tried when it is made.

    `where` names it in problems: a path, or a key of the configuration.

    Raises: ConfigurationError when the template does not parse, asks for a name that no page has, or fails.
    """

    __slots__ = ("_template", "source")

    def __init__(self, source: str, where: str) -> None:
        self.source = source
        try:
            self._template = _ENVIRONMENT.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigurationError([Problem(where, f"line {error.lineno}: {error.message}")]) from error
        try:
            for facts in _TRIALS:
                self._template.render(_shown(facts))
        except Exception as error:  # a template is the operator's program: anything can come out of it
            raise ConfigurationError([Problem(where, f"fails when it is drawn: {error}")]) from error

    def render(self, facts: PageFacts) -> bytes:
        """The page as UTF-8. Never fails: a block page must not be what lets content pass."""
        try:
            return self._template.render(_shown(facts)).encode()
        except Exception:  # as above; tried with other facts when the configuration was loaded
            return _LAST_RESORT


def _shown(facts: PageFacts) -> dict[str, object]:
    return {
        "verdict": facts.verdict.value,
        "outcome": str(facts.outcome or report_result(ScanReport(facts.verdict))),
        "rule": _clear(facts.rule, NAME_CHARACTERS),
        "reason": _clear(facts.reason, REASON_CHARACTERS),
        "findings": [_clear(name, NAME_CHARACTERS) for name in facts.findings[:FINDINGS_SHOWN]],
        "url": _clear(_without_query(facts.url), URL_CHARACTERS),
        "host": _clear(facts.host, NAME_CHARACTERS),
        "transaction": _clear(facts.transaction, NAME_CHARACTERS),
        "contact": _clear(facts.contact, NAME_CHARACTERS * 2),
    }


def _without_query(url: str) -> str:
    """A query may hold a session or a password, and so may the part before the @."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()


def _clear(text: str, characters: int) -> str:
    """Short, and without what a terminal or a browser would act on: controls, direction marks, lone surrogates."""
    short = text if len(text) <= characters else text[: characters - 1] + "…"
    return short if short.isprintable() else "".join(char if char.isprintable() else "�" for char in short)
