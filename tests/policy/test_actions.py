"""Redirects and header edits: what they make, and what is refused when the configuration is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from icapd.config.schema import Rule
from icapd.errors import ConfigurationError
from icapd.policy.actions import EDITS_MAX, LOCATION_FIELDS, location
from icapd.policy.facts import Action, Facts, HeaderEdits, Redirect
from icapd.policy.rules import Match, compile_rule

PORTAL = "https://portal.example/why?u={url}&by={user}#{rule}"


def made(action: str, **more: Any) -> Rule:
    return Rule.model_validate({"name": "r", "action": action, **more})


def test_a_redirect_is_for_requests_alone_and_known_early() -> None:
    rule = compile_rule(made("redirect", location=PORTAL, status=307), "policy[0]")
    assert rule.decision.action is Action.REDIRECT
    assert rule.decision.redirect == Redirect(307, PORTAL)
    assert rule.decision.refuses
    assert rule.early(Facts(method="REQMOD")) is Match.YES
    assert rule.early(Facts(method="RESPMOD")) is Match.NO


def test_what_fills_a_location_stays_in_its_place() -> None:
    values = dict.fromkeys(LOCATION_FIELDS, "x")
    values |= {"url": "http://a/b?c=d&e#f", "user": "CORP\\al\r\nice\u00e9\ud800", "rule": "{user}"}
    values = {key: value.encode("utf-8", "replace").decode() for key, value in values.items()}
    place = location(Redirect(302, PORTAL), values)
    assert place == (
        b"https://portal.example/why?u=http%3A%2F%2Fa%2Fb%3Fc%3Dd%26e%23f&by=CORP%5Cal%0D%0Aice%C3%A9%3F#%7Buser%7D"
    )


def test_a_lone_surrogate_does_not_break_a_location() -> None:
    values = dict.fromkeys(LOCATION_FIELDS, "\udc80")
    assert location(Redirect(302, "https://h/{url}"), values) == b"https://h/%3F"


def test_header_edits_are_kept_ready_and_wait_for_the_scan() -> None:
    rule = compile_rule(made("allow", add_headers={"X-A": "1", "X-B": "b c"}, remove_headers=["Range"]), "policy[0]")
    assert rule.decision.edits == HeaderEdits(b"X-A: 1\r\nX-B: b c\r\n", (b"range",))
    assert rule.early(Facts()) is Match.NOT_YET_KNOWN


@pytest.mark.parametrize(
    ("more", "where", "what"),
    [
        ({"action": "redirect"}, "location", "is missing"),
        ({"action": "block", "location": "https://h/"}, "location", 'for action = "redirect"'),
        ({"action": "redirect", "location": "ftp://h/"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "/path"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "https://{host}/"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "https://h{host}/"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "https://h/a b"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "https://h/\r\nX: 1"}, "location", "wants http://HOST"),
        ({"action": "redirect", "location": "https://h/{query}"}, "location", "{query} is unknown"),
        (
            {"action": "redirect", "location": "https://h/", "when": {"method": "RESPMOD"}},
            "when.method",
            "only a request",
        ),
        ({"action": "block", "add_headers": {"X-A": "1"}}, "add_headers", "nothing passes"),
        ({"action": "block", "remove_headers": ["X-A"]}, "remove_headers", "nothing passes"),
        ({"action": "allow", "remove_headers": ["Content-Length"]}, "remove_headers", "framing"),
        ({"action": "allow", "remove_headers": ["host"]}, "remove_headers", "framing"),
        ({"action": "allow", "add_headers": {"Transfer-Encoding": "chunked"}}, "add_headers", "framing"),
        ({"action": "allow", "add_headers": {"Connection": "close"}}, "add_headers", "one hop"),
        ({"action": "allow", "add_headers": {"X A": "1"}}, "add_headers", "no header name"),
        ({"action": "allow", "add_headers": {"X-A\r\nB": "1"}}, "add_headers", "no header name"),
        ({"action": "allow", "add_headers": {"X-A": "1\r\nX-B: 2"}}, "add_headers.X-A", "without line ends"),
        ({"action": "allow", "add_headers": {"X-A": ""}}, "add_headers.X-A", "printable ASCII"),
        ({"action": "allow", "add_headers": {"X-A": "é"}}, "add_headers.X-A", "printable ASCII"),
        ({"action": "allow", "add_headers": {"X-A": "v" * 1025}}, "add_headers.X-A", "at most 1024"),
        (
            {"action": "allow", "remove_headers": [f"X-{n}" for n in range(EDITS_MAX + 1)]},
            "remove_headers",
            "at most 32",
        ),
        ({"action": "allow", "when": {"declared_type": "image/*"}}, "when.declared_type", "what a sender claims"),
    ],
)
def test_an_action_that_cannot_be_meant_is_refused(more: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        compile_rule(Rule.model_validate({"name": "r", **more}), "policy[0]")
    (problem,) = refused.value.problems
    assert problem.where == f"policy[0].{where}"
    assert what in problem.what


def test_edits_at_their_limits_are_taken() -> None:
    names = {f"X-{n}": "v" * 1024 for n in range(EDITS_MAX)}
    compile_rule(made("monitor", add_headers=names), "policy[0]")
    compile_rule(made("allow", when={"declared_type": "image/*", "real_type": "image/*"}), "policy[0]")
