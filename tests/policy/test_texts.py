"""The words of block pages: whole in each language, distinct for each outcome, in every form."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from icapd.config.pages import LANGUAGES_MAX, read_languages, read_pages
from icapd.config.schema import Settings
from icapd.config.shipped import shipped_conf
from icapd.errors import ConfigurationError
from icapd.policy.outcomes import Result, sample_report
from icapd.policy.page import BlockPage, Drawn, PageFacts
from icapd.policy.texts import KEYS, shown_texts
from icapd.scan.model import Verdict

LANGUAGES = read_languages(Settings(), Path.cwd())
TAGS = ("de", "en", "es", "fr", "ja", "pt", "zh")
ENGLISH = shipped_conf() / "pages" / "languages" / "en.toml"
REFUSED = [result for result in Result if result not in (Result.CLEAN, Result.NOT_SCANNED)]


@pytest.fixture(scope="module")
def page() -> BlockPage:
    return read_pages(Settings(), Path.cwd(), LANGUAGES)[None]


def facts(outcome: Result, **more: Any) -> PageFacts:
    return PageFacts(sample_report(outcome).verdict, "my-rule", outcome=outcome, transaction="7f3a-1", **more)


def test_the_shipped_languages_are_whole_and_translated() -> None:
    assert set(LANGUAGES) == set(TAGS)
    for tag in TAGS:
        assert tuple(sorted(LANGUAGES[tag])) == tuple(sorted(KEYS))
        same = [key for key in KEYS if LANGUAGES[tag][key] == LANGUAGES["en"][key]]
        assert tag == "en" or set(same) <= {"contact", "site"}, tag


@pytest.mark.parametrize("tag", TAGS)
def test_each_outcome_has_its_own_words(tag: str) -> None:
    said = {shown_texts(LANGUAGES[tag], result, sample_report(result).verdict)["what"] for result in REFUSED}
    assert len(said) == len(REFUSED)


@pytest.mark.parametrize("tag", TAGS)
def test_a_part_of_a_file_is_told_from_all_else(tag: str) -> None:
    part = shown_texts(LANGUAGES[tag], Result.FORBIDDEN, Verdict.CLEAN, is_part=True)
    others = [shown_texts(LANGUAGES[tag], result, sample_report(result).verdict)["what"] for result in REFUSED]
    assert (part["title"], part["what"]) == (LANGUAGES[tag]["title_forbidden"], LANGUAGES[tag]["what_partial"])
    assert part["what"] not in others
    assert part["advice"] == LANGUAGES[tag]["advice_again"]


@pytest.mark.parametrize(
    ("result", "advice"),
    [
        (Result.MALICIOUS, "malicious"),
        (Result.SUSPICIOUS, "ask"),
        (Result.FORBIDDEN, "ask"),
        (Result.TOO_LARGE, "ask"),
        (Result.LIMIT, "unpack"),
        (Result.ENCRYPTED, "unpack"),
        (Result.CORRUPT, "again"),
        (Result.ENGINE_FAILED, "retry"),
    ],
)
def test_the_advice_helps_with_this_outcome(result: Result, advice: str) -> None:
    said = shown_texts(LANGUAGES["en"], result, sample_report(result).verdict)
    assert said["advice"] == LANGUAGES["en"][f"advice_{advice}"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("result", REFUSED)
def test_a_page_is_in_the_readers_language_in_every_form(page: BlockPage, tag: str, result: Result) -> None:
    what = LANGUAGES[tag]["what_listed" if result is Result.FORBIDDEN else f"what_{result.replace('-', '_')}"]
    for accept in (b"text/html", b"application/json", b"text/plain"):
        drawn = page.draw(facts(result), accept, tag.encode() + b"-XX, nl;q=0.5")
        assert drawn.language == tag
        assert drawn.media_type.startswith(accept.decode())
        text = drawn.body.decode()
        assert what.replace("’", "&#8217;") in text or what in text
        assert result.value in text
        assert "7f3a-1" in text
    assert f'<html lang="{tag}">' in page.draw(facts(result), b"", tag.encode()).body.decode()


def test_json_is_plain_data(page: BlockPage) -> None:
    drawn = page.draw(
        facts(Result.MALICIOUS, findings=('<b>"',), url="http://u:p@h/a?q=1", reason="No <way>."),
        b"application/json",
        b"",
    )
    assert drawn.media_type == "application/json"
    assert json.loads(drawn.body) == {
        "title": "Malware was blocked",
        "what": "Malware was found in this content.",
        "reason": "No <way>.",
        "outcome": "malicious",
        "verdict": "MALICIOUS",
        "findings": ['<b>"'],
        "rule": "my-rule",
        "url": "http://h/a",
        "host": "",
        "transaction": "7f3a-1",
        "contact": "",
        "help_url": "",
        "override_url": "",
    }


def test_text_is_lines_with_labels(page: BlockPage) -> None:
    drawn = page.draw(facts(Result.TIMED_OUT, contact="4711", findings=("a\nb",)), b"text/plain", b"")
    assert drawn.body.decode().splitlines() == [
        "This content could not be checked",
        "",
        "This content could not be checked in the time allowed. So nobody can say whether this content is safe.",
        LANGUAGES["en"]["advice_retry"],
        "",
        "What was found: a�b",
        "Outcome: timed-out (ERROR)",
        "Rule: my-rule",
        "Reference: 7f3a-1",
        "Contact: 4711",
    ]


def test_help_is_a_link_with_the_transaction(page: BlockPage) -> None:
    asked = facts(Result.LIMIT, help_url="mailto:a@h.example?subject=x%20{transaction}")
    assert b'<a href="mailto:a@h.example?subject=x%20' + b'7f3a-1">Ask for help</a>' in page.render(asked)
    hostile = PageFacts(asked.verdict, "r", transaction='"><script>', help_url="https://h/{transaction}")
    assert b'href="https://h/%22%3E%3Cscript%3E"' in page.render(hostile)
    assert b"<a " not in page.render(facts(Result.LIMIT))


def test_a_template_with_words_of_its_own_claims_no_language() -> None:
    own = BlockPage("Nein: {{ rule }}", "t", LANGUAGES)
    assert own.draw(facts(Result.LIMIT), b"", b"fr") == Drawn(b"Nein: my-rule", "text/html; charset=utf-8", "")
    half = BlockPage("{{ title }}", "t", LANGUAGES, "de")
    assert half.draw(facts(Result.LIMIT), b"", b"nl").language == "de"


def test_a_language_of_ones_own_is_added_or_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    table = ENGLISH.read_text(encoding="utf-8")
    (tmp_path / "ar.toml").write_text(table.replace("Malware was blocked", "XX") + 'direction = "rtl"\n')
    (tmp_path / "de.toml").write_text(table.replace("Malware was blocked", "YY"))
    settings = Settings.model_validate({"pages": {"languages": str(tmp_path), "language": "ar"}})
    languages = read_languages(settings, tmp_path)
    assert (languages["de"]["title_malicious"], set(languages)) == ("YY", {*TAGS, "ar"})
    page = read_pages(settings, tmp_path, languages)[None]
    assert '<html lang="ar" dir="rtl">' in page.render(facts(Result.MALICIOUS)).decode()


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("xx.toml", ("", ""), None),
        ("xx.toml", ("title_malicious =", "headline ="), "headline is no text of a page"),
        ("xx.toml", ('title_malicious = "Malware was blocked"', ""), "has no title_malicious"),
        ("xx.toml", ('"Malware was blocked"', '""'), "title_malicious must be a text of 1 to 500 characters"),
        ("xx.toml", ('"Malware was blocked"', "5"), "title_malicious must be a text"),
        ("xx.toml", ('"Malware was blocked"', '"' + "x" * 500 + '"'), None),
        ("xx.toml", ('"Malware was blocked"', '"' + "x" * 501 + '"'), "title_malicious must be a text"),
        ("xx.toml", ("title_suspicious", "direction = 'up'\ntitle_suspicious"), "direction must be ltr or rtl"),
        ("xx.toml", ("=", "", 1), "is not TOML"),
        ("english.toml", ("", ""), "is no language tag"),
    ],
)
def test_a_language_that_is_not_whole_is_refused(
    tmp_path: Path, name: str, change: tuple[Any, ...], what: str | None
) -> None:
    (tmp_path / name).write_text(ENGLISH.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    settings = Settings.model_validate({"pages": {"languages": str(tmp_path)}})
    if what is None:
        assert "xx" in read_languages(settings, tmp_path)
        return
    with pytest.raises(ConfigurationError) as refused:
        read_languages(settings, tmp_path)
    assert any(what in problem.what and name in problem.where for problem in refused.value.problems)


def test_languages_are_bounded_and_must_be_there(tmp_path: Path) -> None:
    def problem(**pages: str) -> str:
        with pytest.raises(ConfigurationError) as refused:
            read_languages(Settings.model_validate({"pages": pages}), tmp_path)
        return str(refused.value)

    assert "pages.language: there is no nl; there are" in problem(language="nl")
    assert "is no folder" in problem(languages="missing")
    for number in range(LANGUAGES_MAX + 1 - len(TAGS)):
        (tmp_path / f"a{chr(97 + number // 26)}{chr(97 + number % 26)}.toml").write_bytes(ENGLISH.read_bytes())
    assert f"at most {LANGUAGES_MAX}" in problem(languages=str(tmp_path))


def cost_us(run: Callable[[], object], calls: int = 40, rounds: int = 9) -> float:
    """The median CPU time of one call, in microseconds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(calls):
            run()
        times.append((time.process_time() - started) / calls * 1e6)
    return statistics.median(times)


def test_a_page_costs_little(page: BlockPage) -> None:
    """Measured: 0.07 ms. A block is rare, and its answer must not become the way to keep a front busy."""
    asked = facts(Result.MALICIOUS, findings=("a", "b"), url="http://h/x", host="h")
    for accept in (b"text/html", b"application/json", b"text/plain"):
        spent_us = cost_us(partial(page.draw, asked, accept, b"de-AT,de;q=0.9,en;q=0.8"))
        print(f"{accept.decode()} {spent_us:.0f} us")
        assert spent_us < 3_000
