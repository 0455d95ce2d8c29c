"""The block page: what it shows, what it never lets through, which templates are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from icapd.config.pages import read_languages
from icapd.config.schema import Settings
from icapd.config.shipped import shipped_conf
from icapd.errors import ConfigurationError
from icapd.policy.page import FINDINGS_SHOWN, NAME_CHARACTERS, URL_CHARACTERS, BlockPage, PageFacts
from icapd.scan.model import Verdict

SCRIPT = "<script>alert(1)</script>"
SOURCE = (shipped_conf() / "pages" / "block.html").read_text(encoding="utf-8")
LANGUAGES = read_languages(Settings(), Path.cwd())


@pytest.fixture(scope="module")
def page() -> BlockPage:
    return BlockPage(SOURCE, "pages/block.html", LANGUAGES)


class Tags(HTMLParser):
    """Collects tags, and checks that they close in order."""

    VOID = frozenset({"meta", "br", "hr", "link", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


FULL = PageFacts(
    verdict=Verdict.MALICIOUS,
    rule="malicious",
    reason="Malware was found.",
    findings=("Test.Virus", "Test.Other"),
    url="http://example.org/a/b?session=secret#part",
    host="example.org",
    transaction="7f3a-0001",
    contact="help desk, 4711",
)


def test_the_shipped_page_says_what_happened_and_whom_to_ask(page: BlockPage) -> None:
    html = page.render(FULL).decode()
    for shown in ("Malware was found.", "Test.Virus", "Test.Other", "http://example.org/a/b", "7f3a-0001", "4711"):
        assert shown in html
    assert "MALICIOUS" in html
    assert "<dd>malicious</dd>" in html
    assert "secret" not in html
    assert "#part" not in html


@pytest.mark.parametrize("verdict", Verdict)
def test_the_shipped_page_is_whole_and_accessible_for_every_verdict(page: BlockPage, verdict: Verdict) -> None:
    tags = Tags(page.render(PageFacts(verdict, "rule")).decode())
    assert tags.open == []
    names = [name for name, _ in tags.seen]
    assert ("html", {"lang": "en"}) in tags.seen
    assert ("main", {"role": "main"}) in tags.seen
    assert names.count("h1") == names.count("title") == 1


def test_the_shipped_page_loads_nothing_and_runs_nothing(page: BlockPage) -> None:
    html = page.render(FULL).decode()
    tags = Tags(html)
    assert not {name for name, _ in tags.seen} & {"script", "link", "img", "iframe", "form", "object", "a"}
    assert not {key for _, attributes in tags.seen for key in attributes} & {"src", "href", "style"}
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html


def test_an_unchecked_body_is_not_called_malware(page: BlockPage) -> None:
    for verdict in (Verdict.ERROR, Verdict.UNSCANNABLE):
        html = page.render(PageFacts(verdict, "timeout")).decode()
        assert "could not be checked" in html
        assert "Malware" not in html
    html = page.render(PageFacts(Verdict.NOT_SCANNED, "my-list")).decode()
    assert "This content was blocked" in html
    assert "could not be checked" not in html


@pytest.mark.parametrize("field", ["rule", "reason", "url", "host", "transaction", "contact"])
def test_markup_in_any_text_is_shown_not_run(page: BlockPage, field: str) -> None:
    text = SCRIPT + '"onload='
    changed: dict[str, Any] = {field: "http://x/" + text if field == "url" else text}
    facts = replace(PageFacts(Verdict.FORBIDDEN, "rule"), **changed)
    html = page.render(facts).decode()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert '"onload' not in html


def test_markup_in_a_finding_is_shown_not_run(page: BlockPage) -> None:
    html = page.render(PageFacts(Verdict.MALICIOUS, "rule", findings=(SCRIPT,))).decode()
    assert "<script" not in html
    assert "<code>&lt;script&gt;" in html


def test_a_template_in_a_fact_is_text(page: BlockPage) -> None:
    assert b"{{ 7 * 7 }}" in page.render(PageFacts(Verdict.MALICIOUS, "rule", findings=("{{ 7 * 7 }}",)))


@pytest.mark.parametrize(
    ("facts", "limit"),
    [
        (lambda text: PageFacts(Verdict.CLEAN, text), NAME_CHARACTERS),
        (lambda text: PageFacts(Verdict.CLEAN, "r", findings=(text,)), NAME_CHARACTERS),
        (lambda text: PageFacts(Verdict.CLEAN, "r", url=text), URL_CHARACTERS),
    ],
)
def test_texts_are_capped(facts: object, limit: int) -> None:
    assert callable(facts)
    shown = BlockPage("{{ rule }}{{ findings|join }}{{ url }}", "t")
    assert ("x" * limit) in shown.render(facts("x" * limit)).decode()
    past = shown.render(facts("x" * (limit + 1))).decode()
    assert ("x" * (limit - 1)) + "…" in past
    assert "x" * limit not in past


def test_findings_are_counted() -> None:
    names = tuple(f"f{index}" for index in range(FINDINGS_SHOWN + 1))
    shown = (
        BlockPage("{{ findings|join(' ') }}", "t").render(PageFacts(Verdict.MALICIOUS, "r", findings=names)).decode()
    )
    assert shown.split() == list(names[:FINDINGS_SHOWN])


def test_controls_direction_marks_and_surrogates_are_replaced() -> None:
    shown = BlockPage("{{ host }}", "t").render(PageFacts(Verdict.CLEAN, "r", host="a\r\n\x00\x1b\u202e\udc80b"))
    assert shown.decode() == "a" + "�" * 6 + "b"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pass@example.org:8080/p?q", "http://example.org:8080/p"),
        ("/path?q#f", "/path"),
        ("example.org:443", "example.org:443"),
        ("http://[broken/", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert BlockPage("{{ url }}", "t").render(PageFacts(Verdict.CLEAN, "r", url=url)).decode() == shown


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("a\n{% if %}", "line 2: "),
        ("{{ rule|nonsense }}", "line 1: No filter named 'nonsense'"),
        ("{{ reasn }}", "fails when it is drawn: 'reasn' is undefined"),
        ("{% if verdict == 'FORBIDDEN' %}{{ reasn }}{% endif %}", "fails when it is drawn: 'reasn' is undefined"),
        ("{{ findings[0].kind }}", "fails when it is drawn: "),
        ("{% include 'other.html' %}", "fails when it is drawn: "),
        ("{% if not findings %}{{ 1 // 0 }}{% endif %}", "fails when it is drawn: "),
    ],
)
def test_a_template_that_cannot_work_is_refused(source: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        BlockPage(source, "pages.block")
    (problem,) = refused.value.problems
    assert problem.where == "pages.block"
    assert problem.what.startswith(what)


def test_a_template_that_fails_later_still_blocks() -> None:
    page = BlockPage("{% if host|length > 50 %}{{ 1 // 0 }}{% endif %}fine", "t")
    assert page.render(PageFacts(Verdict.CLEAN, "r", host="short")) == b"fine"
    assert re.search(rb"<h1>Blocked</h1>", page.render(PageFacts(Verdict.CLEAN, "r", host="x" * 51)))
