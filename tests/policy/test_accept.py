"""What a client likes best, from headers that anybody may write."""

from __future__ import annotations

import pytest

from icapd.policy import accept
from icapd.policy.accept import ENTRIES_MAX, HEADER_BYTES, Form, best_form, best_language

HTML, JSON, TEXT = Form
KNOWN = ("en", "de", "fr", "zh", "pt", "pt-br")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", HTML),
        (b"*/*", HTML),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", HTML),
        (b"application/json", JSON),
        (b"Application/JSON; charset=utf-8", JSON),
        (b"application/json, text/plain, */*", JSON),
        (b"text/plain", TEXT),
        (b"text/*", HTML),
        (b"text/*;q=0.5, text/plain", TEXT),
        (b"text/plain;q=0.9, application/json;q=0.8, */*;q=0.1", TEXT),
        (b"text/html;q=0, */*", JSON),
        (b"text/html;q=0.4, application/json;q=0.5", JSON),
        (b"text/html;q=0.4;level=1, application/json;q=0.3", JSON),
        (b"image/png", HTML),
        (b"application/json;q=0", HTML),
        (b"application/json;q=2", HTML),
        (b"application/json;q=x", HTML),
        (b"application/json;q=1.0000", HTML),
        (b"\xff\xfe,;;,/,application/json", JSON),
        (b"a/b," * (ENTRIES_MAX - 1) + b"application/json", JSON),
        (b"a/b," * ENTRIES_MAX + b"application/json", HTML),
        (b" " * 1008 + b"application/json", JSON),
        (b" " * 1009 + b"application/json", HTML),
    ],
)
def test_the_form_that_is_liked_best(accept: bytes, form: Form) -> None:
    assert best_form(accept) is form


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (b"", "en"),
        (b"de", "de"),
        (b"de-AT,de;q=0.9,en;q=0.8", "de"),
        (b"en;q=0.5, FR-ca", "fr"),
        (b"zh-Hant-TW", "zh"),
        (b"pt-BR", "pt-br"),
        (b"pt-PT", "pt"),
        (b"nl, sv;q=0.9", "en"),
        (b"nl, *;q=0.5, de;q=0.4", "en"),
        (b"de;q=0, fr;q=0.1", "fr"),
        (b"de;q=0, de-AT", "en"),
        (b"fr;q=0.5, de;q=0.5", "fr"),
        (b"de_AT", "en"),
        (b"x" * 100_000, "en"),
        (b"\x00\xff", "en"),
    ],
)
def test_the_language_that_is_liked_best(accept: bytes, language: str) -> None:
    assert best_language(accept, KNOWN, "en") == language


def test_of_a_long_header_the_beginning_is_read_and_kept() -> None:
    """Browsers choose it: what is kept must not be as long as a head may be."""
    long = b"text/plain," + b"a/b," * HEADER_BYTES
    assert best_form(long + b"1") is best_form(long + b"2") is Form.TEXT
    known = accept._best_form.cache_info()
    best_form(long + b"3")
    assert accept._best_form.cache_info().misses == known.misses
