"""The page a blocked user sees, as HTML, JSON or plain text and in the reader's language.

Draws it from a template, texts and facts; reads no file and knows no HTTP. Everything in PageFacts may come from a
peer: a URL, a host, a finding named after a file in an archive. It is capped, cleared of control and
direction-changing characters, and escaped by the template engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import jinja2
import jinja2.meta
import msgspec

from icapd.errors import ConfigurationError, Problem
from icapd.policy.accept import Form, best_form, best_language
from icapd.policy.outcomes import Result, report_result
from icapd.policy.texts import LABELS, NO_TEXTS, SHOWN, Languages, shown_texts
from icapd.scan.model import ScanReport, Verdict

URL_CHARACTERS = 300
NAME_CHARACTERS = 120
REASON_CHARACTERS = 400
FINDINGS_SHOWN = 10

_ENVIRONMENT = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_IN_A_LANGUAGE = frozenset({*SHOWN, *(f"label_{label}" for label in LABELS)})

_LAST_RESORT = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>Blocked</title>'
    b"<main><h1>Blocked</h1><p>This content was blocked by the security gateway.</p></main></html>\n"
)
"""For a template that fails on facts it was never tried with: the content stays blocked, the page is plain."""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page may show. Empty is unknown.

    `url` may have a query: it is cut off before it is shown. `help_url` is a link with the field {transaction}.
    `override_url` leads past the rule, and `override_refused` says that such a link led here. `is_part`: blocked for
    being a part of a file, whatever is in it.
    """

    verdict: Verdict
    rule: str
    reason: str = ""
    findings: tuple[str, ...] = ()
    url: str = ""
    host: str = ""
    transaction: str = ""
    contact: str = ""
    outcome: Result | None = None
    help_url: str = ""
    override_url: str = ""
    override_refused: bool = False
    is_part: bool = False


class Drawn(NamedTuple):
    """A page as bytes, and what its headers say of it. `language` is empty for a template with words of its own."""

    body: bytes
    media_type: str
    language: str


_TRIALS = [
    facts
    for verdict in Verdict
    for facts in (
        PageFacts(verdict, "rule"),
        PageFacts(
            verdict,
            "rule",
            "reason",
            ("a", "b"),
            "http://example.org/",
            "example.org",
            "id",
            "contact",
            help_url="https://example.org/{transaction}",
            override_url="http://example.org/?icapd-override=token",
            override_refused=True,
        ),
    )
]
"""What a template is tried with: each verdict with everything else known, and with nothing."""


class BlockPage:
    """A template with the texts of all languages, tried when it is made.

    `where` names it in problems: a path, or a key of the configuration. `default` is the language of who asks for
    none that there is.

    Raises: ConfigurationError when the template does not parse, asks for a name that no page has, or fails.
    """

    __slots__ = ("_default", "_has_language", "_languages", "_template", "source")

    def __init__(self, source: str, where: str, languages: Languages = NO_TEXTS, default: str = "en") -> None:
        self.source = source
        self._languages = languages
        self._default = default
        try:
            self._template = _ENVIRONMENT.from_string(source)
            names = jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(source))
        except jinja2.TemplateSyntaxError as error:
            raise ConfigurationError([Problem(where, f"line {error.lineno}: {error.message}")]) from error
        self._has_language = not names.isdisjoint(_IN_A_LANGUAGE)
        try:
            for facts in _TRIALS:
                self._template.render(self._shown(facts, default))
        except Exception as error:  # a template is the operator's program: anything can come out of it
            raise ConfigurationError([Problem(where, f"fails when it is drawn: {error}")]) from error

    def render(self, facts: PageFacts) -> bytes:
        """The page as HTML in the default language."""
        return self.draw(facts, b"", b"").body

    def draw(self, facts: PageFacts, accept: bytes, accept_language: bytes) -> Drawn:
        """The page as the client likes it best. Never fails: a block page must not be what lets content pass."""
        language = best_language(accept_language, self._languages.keys(), self._default)
        form = best_form(accept)
        shown = self._shown(facts, language)
        if form is Form.JSON:
            return Drawn(_as_json(shown), "application/json", language)
        if form is Form.TEXT:
            return Drawn(_as_text(shown), "text/plain; charset=utf-8", language)
        try:
            html = self._template.render(shown).encode()
        except Exception:  # as above; tried with other facts when the configuration was loaded
            return Drawn(_LAST_RESORT, "text/html; charset=utf-8", "en")
        return Drawn(html, "text/html; charset=utf-8", language if self._has_language else "")

    def _shown(self, facts: PageFacts, language: str) -> dict[str, object]:
        outcome = facts.outcome or report_result(ScanReport(facts.verdict))
        transaction = _clear(facts.transaction, NAME_CHARACTERS)
        return {
            **shown_texts(self._languages[language], outcome, facts.verdict, is_part=facts.is_part),
            "lang": language,
            "verdict": facts.verdict.value,
            "outcome": outcome.value,
            "rule": _clear(facts.rule, NAME_CHARACTERS),
            "reason": _clear(facts.reason, REASON_CHARACTERS),
            "findings": [_clear(name, NAME_CHARACTERS) for name in facts.findings[:FINDINGS_SHOWN]],
            "url": _clear(_without_query(facts.url), URL_CHARACTERS),
            "host": _clear(facts.host, NAME_CHARACTERS),
            "transaction": transaction,
            "contact": _clear(facts.contact, NAME_CHARACTERS * 2),
            "help_url": facts.help_url.replace("{transaction}", quote(transaction, safe="")),
            "override_url": facts.override_url,
            "override_refused": facts.override_refused,
        }


_JSON_KEYS = (
    *("title", "what", "reason", "outcome", "verdict", "findings", "rule"),
    *("url", "host", "transaction", "contact", "help_url", "override_url"),
)


def _as_json(shown: dict[str, object]) -> bytes:
    return msgspec.json.encode({key: shown[key] for key in _JSON_KEYS}) + b"\n"


def _as_text(shown: dict[str, object]) -> bytes:
    """Title, what happened, what to do, then the facts, each with its label."""
    findings = shown["findings"]
    facts = {
        "found": ", ".join(findings) if isinstance(findings, list) else "",
        "address": shown["url"] or shown["host"],
        "outcome": f"{shown['outcome']} ({shown['verdict']})",
        "rule": shown["rule"],
        "reference": shown["transaction"],
        "contact": shown["contact"],
        "ask": shown["help_url"],
        "override": shown["override_url"],
    }
    said = [shown["title"], "", f"{shown['what']} {shown['unsure']}".strip(), shown["reason"], shown["advice"]]
    said += [shown["label_override_refused"]] if shown["override_refused"] else []
    said += [shown["label_override_note"], ""] if shown["override_url"] else [""]
    lines = [str(text) for place, text in enumerate(said) if text or place in (1, len(said) - 1)]
    lines += [f"{shown[f'label_{key}']}: {text}" for key, text in facts.items() if text]
    return ("\n".join(lines) + "\n").encode()


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
