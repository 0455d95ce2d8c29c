"""What a configuration says that may be meant, and most likely is not."""

from __future__ import annotations

import pytest

from icapd.config.warnings import warnings
from tests.config.conftest import Load

RULE = '[[policy]]\nname = "r"\naction = "monitor"\n'


@pytest.mark.parametrize(
    ("when", "where", "what"),
    [
        ('engine = "list"', "policy[0].when.engine", 'no enabled engine is named "list"; did you mean lists?'),
        ('engine = ["lists", "z*"]', "policy[0].when.engine", 'no enabled engine is named "z*"'),
        (
            'finding = "encripted"',
            "policy[0].when.finding",
            'no kind of finding is named "encripted"; did you mean encrypted?',
        ),
    ],
)
def test_names_that_nothing_has(load_text: Load, when: str, where: str, what: str) -> None:
    (problem,) = warnings(load_text(RULE + f"when = {{ {when} }}\n"))
    assert (problem.where, problem.what) == (where, what)


@pytest.mark.parametrize(
    "when",
    [
        'engine = "LISTS"',
        'engine = "li*"',
        'engine = ["icapd", "Coding"]',
        'finding = "encrypted"',
        'finding = ["My_Rule", "not-opened:*"]',
    ],
)
def test_names_that_something_may_have(load_text: Load, when: str) -> None:
    assert warnings(load_text(RULE + f"when = {{ {when} }}\n")) == []


def test_an_engine_that_is_switched_off_finds_nothing(load_text: Load) -> None:
    text = "[engines.lists]\nenabled = false\n" + RULE + 'when = { engine = "lists" }\n'
    assert [problem.where for problem in warnings(load_text(text))] == ["policy[0].when.engine"]
