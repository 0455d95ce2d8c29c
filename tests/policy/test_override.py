"""Links past a rule as text: where the tokens stand, and when there is no link."""

from __future__ import annotations

import pytest

from icapd.policy.override import TOKENS_MAX, as_bound, link, without_tokens


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://h.example/a", "http://h.example/a?icapd-override=T"),
        (b"http://h.example/a?b=c", "http://h.example/a?b=c&icapd-override=T"),
        (b"http://h.example/a?icapd-override=OLD", "http://h.example/a?icapd-override=T"),
        (b'/a"<b>?c', "/a%22%3Cb%3E?c&icapd-override=T"),
        (b"/a//b", "/a//b?icapd-override=T"),
    ],
)
def test_a_link_is_the_address_with_the_token_in_its_query(target: bytes, expected: str) -> None:
    assert link(target, ["T"]) == expected
    assert without_tokens(expected.encode()) == (as_bound(target).encode(), ["T"])


@pytest.mark.parametrize("target", [b"//other.example/a", b"///a", b"//h.example/?icapd-override=OLD"])
def test_a_path_that_a_browser_reads_as_another_host_has_no_link(target: bytes) -> None:
    assert link(target, ["T"]) == ""


def test_as_long_and_as_many_as_may_be_and_one_more() -> None:
    longest = b"/" + b"a" * 4095
    assert link(longest, ["T"])
    assert link(longest + b"a", ["T"]) == ""
    tokens = [str(number) for number in range(TOKENS_MAX + 1)]
    assert link(b"/a", tokens[:-1]).count("icapd-override=") == TOKENS_MAX
    assert link(b"/a", tokens) == ""
