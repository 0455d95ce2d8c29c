"""The index changes no answer, and keeps the cost of many rules low."""

from __future__ import annotations

import random
import string
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icapd.config.policies import shipped_rules
from icapd.config.schema import Rule
from icapd.policy.conditions import url_forms
from icapd.policy.decide import Policy, compile_policy
from icapd.policy.facts import Decision, Facts
from icapd.policy.index import FixedTables, judged_tables
from icapd.policy.names import Glob
from icapd.policy.outcomes import Result, sample_report
from icapd.policy.rules import Match, compile_rule
from icapd.policy.tables import KEPT, KEPT_CHARACTERS, Known, NameTable, NumberTable
from icapd.scan.model import Finding, FindingKind, Identity, ScanReport, Severity, Verdict
from tests.support.steps import steps

NAMES = (
    *("a", "ab", "abc", "b.a", "ba", "a*", "*b", "*a*b*", "a?", "*", "?b*"),
    *("*ab*", "*ba", "?", ".a", ".b.a", "*.b.a", "*.", "*.a.", "**.a"),
)
TYPES = ("a/b", "a/*", "*", "*/b", "c/d")
CONDITIONS: dict[str, tuple[Any, ...]] = {
    "verdict": tuple(map(str, Verdict)),
    "outcome": (*map(str, Result), ["encrypted", "corrupt"], ["clean", "limit", "too-large"]),
    "finding": ("n1", "n*", "encrypted", "*1", "suspicious"),
    "severity": ("info", "low", "high"),
    "engine": ("e1", "e*"),
    "method": ("REQMOD", "RESPMOD"),
    "http_method": NAMES,
    "service": NAMES,
    "extension": ("a", "a*", "b"),
    "host": NAMES,
    "url": NAMES,
    "user": NAMES,
    "group": NAMES,
    "client": ("192.0.2.0/24", "192.0.2.7", "::/0"),
    "media_type": TYPES,
    "declared_type": TYPES,
    "real_type": TYPES,
    "size_over_bytes": (0, 9, 10),
    "size_under_bytes": (12, 20),
    "time": ("00:00-12:00", "22:00-06:00", "06:00-22:30"),
    "weekday": ("mon", "sat-mon", "sun"),
}
WHENS = st.lists(
    st.sampled_from(list(CONDITIONS)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(CONDITIONS[key]))),
    max_size=4,
).map(dict)
EXAMPLES = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""Alike on every run; how long one takes is nothing that these tests say."""
ACTIONS = st.sampled_from(["allow", "block", "monitor"])
RULES = st.lists(st.tuples(ACTIONS, WHENS).filter(lambda rule: _can_be_meant(*rule)), max_size=8)


def _can_be_meant(action: str, when: dict[str, Any]) -> bool:
    return action == "block" or "declared_type" not in when or not when.keys().isdisjoint({"media_type", "real_type"})


TEXTS = st.none() | st.text("ab.", max_size=5) | st.sampled_from(["b.a", "x.b.a", "aa", "a."])
FACTS = st.builds(
    Facts,
    method=st.sampled_from(["REQMOD", "RESPMOD"]),
    service=st.sampled_from(["a", "ab"]),
    client=st.sampled_from([None, "192.0.2.7", "192.0.2.8", "2001:db8::1", "nobody"]),
    user=TEXTS | st.sampled_from(["Local://a", "WinNT://b/ab"]),
    host=TEXTS,
    http_method=TEXTS,
    extension=TEXTS,
    size_bytes=st.none() | st.integers(0, 21),
    media_type=st.none() | st.sampled_from(["a/b", "c/d; x=y"]),
    media_types=st.lists(st.sampled_from(["a/b", "c/d"]), max_size=2).map(tuple),
    groups=st.lists(st.sampled_from(["a", "Local://ab", "x"]), max_size=3).map(tuple),
    url=TEXTS | st.sampled_from(["http://a/%61b/../ab"]),
    week_minute=st.none() | st.integers(0, 7 * 24 * 60 - 1),
)
FINDINGS = st.builds(
    Finding,
    st.sampled_from(FindingKind),
    st.sampled_from(["n1", "n2", "max_body_bytes"]),
    st.sampled_from(["e1", "x"]),
    st.sampled_from(Severity),
)
REPORTS = st.builds(
    ScanReport,
    st.sampled_from(Verdict),
    st.lists(FINDINGS, max_size=3).map(tuple),
    st.sampled_from([Identity("a/b", "data"), Identity("c/d", "text"), Identity("a/b", "unknown")]),
    size_bytes=st.integers(0, 21),
)
OTHERWISE = Rule.model_validate({"name": "otherwise", "action": "block"})


def made_of(drawn: list[tuple[str, dict[str, Any]]]) -> Policy:
    rules = [{"name": f"r{place}", "action": action, "when": when} for place, (action, when) in enumerate(drawn)]
    return compile_policy("custom", [*map(Rule.model_validate, rules), OTHERWISE])


@EXAMPLES
@given(RULES, FACTS, REPORTS)
def test_the_index_answers_like_asking_every_rule(
    drawn: list[tuple[str, dict[str, Any]]], facts: Facts, report: ScanReport
) -> None:
    made = made_of(drawn)
    early: Decision | None = None
    for rule in made.rules:
        match = rule.early(facts)
        if match is not Match.NO:
            early = rule.decision if match is Match.YES else None
            break
    assert made.early(facts) == early
    facts.report = report
    assert made.decide(facts) == next(rule.decision for rule in made.rules if rule.holds(facts, report))


ONE_CONDITION_EACH = [
    compile_rule(Rule.model_validate({"name": f"{key}-{place}", "action": action, "when": {key: value}}), "rule")
    for action in ("block", "allow")
    for key, values in CONDITIONS.items()
    for place, value in enumerate(values)
    if _can_be_meant(action, {key: value})
]
FIXED, JUDGED = FixedTables(ONE_CONDITION_EACH), list(judged_tables(ONE_CONDITION_EACH))


@EXAMPLES
@given(FACTS, REPORTS)
def test_no_table_misses_a_rule_that_holds(facts: Facts, report: ScanReport) -> None:
    left = FIXED.narrow((1 << len(ONE_CONDITION_EACH)) - 1, facts)
    for table in JUDGED:
        left &= table(facts, report)
    for place, rule in enumerate(ONE_CONDITION_EACH):
        assert left & (1 << place) or not rule.holds(facts, report), rule.source


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a*b", ["ab", "axb", "a\nb", "abab"], ["a", "b", "ba", "abx"]),
        ("*ab*ab*", ["abab", "xabxabx"], ["ab", "aab", "aba"]),
        ("a?", ["ab", "a\n"], ["a", "abc"]),
        ("*?", ["a", "ab"], [""]),
        ("ab*b", ["abb", "abxb"], ["ab"]),
        ("[a]*", ["[a]x"], ["a"]),
        ("**", ["", "a"], []),
    ],
)
def test_wildcards(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes + no if Glob(pattern).matches(text)] == yes


@pytest.mark.parametrize("length", [1, 63, 64, 65, 5_000])
def test_names_may_be_as_long_as_one_likes(length: int) -> None:
    table = NameTable([["*" + "a" * length + "*"], ["*" + "a" * length + "b*"]])
    assert table.find(["a" * length]) & 1
    assert table.find(["x" + "a" * length + "b"]) == 3
    assert table.find(["b"]) == 0


def test_thousands_of_names_are_compiled_at_once() -> None:
    """A pass over all others for each of them would take a minute."""
    table = NameTable([[f"*/{number:05d}/*" for number in range(10_000)]])
    assert (table.find(["/a/01234/b"]), table.find(["/a/1234/b"])) == (1, 0)


def test_a_number_at_a_bound_belongs_to_the_span_that_begins_there() -> None:
    table = NumberTable([[(0, 10)], [(10, 20)], []])
    assert [table.find(number) for number in (-1, 0, 9, 10, 19, 20)] == [4, 5, 5, 6, 6, 4]


@pytest.mark.parametrize(
    ("url", "forms"),
    [
        ("http://h/a/b", ("http://h/a/b",)),
        ("http://h/%61/b", ("http://h/%61/b", "http://h/a/b")),
        ("http://h/x/../a/./b/", ("http://h/x/../a/./b/", "http://h/a/b/")),
        ("http://h//a", ("http://h//a", "http://h/a")),
        ("https://h", ("https://h",)),
        ("/%2e%2e/a", ("/%2e%2e/a", "/a")),
    ],
)
def test_a_url_is_also_read_as_an_origin_does(url: str, forms: tuple[str, ...]) -> None:
    assert url_forms(url) == forms


# What it costs


def many_rules(count: int = 200) -> list[Rule]:
    """Rules of every kind that none of the facts below meets, so that all of them stand in the way."""
    drawn = random.Random(7)

    def word() -> str:
        return "".join(drawn.choices(string.ascii_lowercase, k=8))

    makers: list[Callable[[], dict[str, Any]]] = [
        lambda: {"host": f".{word()}.example"},
        lambda: {"host": [f"{word()}.test", f"*.{word()}.test"]},
        lambda: {"url": f"*/{word()}/*"},
        lambda: {"user": word(), "method": "RESPMOD"},
        lambda: {"group": f"{word()}*"},
        lambda: {"client": f"10.{drawn.randrange(256)}.{drawn.randrange(256)}.0/24"},
        lambda: {"extension": word()[:3], "media_type": f"application/x-{word()}"},
        lambda: {"finding": f"{word()}.*", "severity": "high", "engine": "yara"},
        lambda: {"size_over_bytes": 10**9 + drawn.randrange(10**6), "declared_type": f"image/{word()}"},
        lambda: {"time": "02:00-03:00", "weekday": "sun", "host": f"*{word()}*"},
    ]
    return [
        Rule.model_validate({"name": f"r{place}", "action": "block", "when": makers[place % len(makers)]()})
        for place in range(count)
    ]


def usual_facts(report: ScanReport | None = None) -> Facts:
    return Facts(
        method="RESPMOD",
        service="/respmod",
        client="192.0.2.7",
        user="WinNT://CORP/alice",
        host="www.site.example",
        http_method="GET",
        media_type="text/html",
        extension="html",
        size_bytes=12_345,
        report=report,
        media_types=("text/html",),
        groups=("WinNT://CORP/Staff", "WinNT://CORP/Sales"),
        url="http://www.site.example/static/pages/2024/a-page-with-a-name.html",
        week_minute=1234,
    )


def new_facts(number: int, report: ScanReport | None = None) -> Facts:
    """The facts of somebody never seen before, at a place never seen before."""
    facts = usual_facts(report)
    facts.client = f"198.51.{number >> 8}.{number & 255}"
    facts.user = f"WinNT://CORP/user{number}"
    facts.groups = (f"WinNT://CORP/Team{number}", "WinNT://CORP/Staff")
    facts.host = f"h{number}.site.example"
    facts.url = f"http://{facts.host}/static/pages/{number}/a-page-with-a-name.html"
    return facts


CLEAN = ScanReport(Verdict.CLEAN, identity=Identity("text/html", "markup"), size_bytes=12_345)
REPORTED = pytest.mark.parametrize("report", [CLEAN, sample_report(Result.MALICIOUS)], ids=["clean", "malicious"])


@REPORTED
def test_two_hundred_rules_cost_little(report: ScanReport) -> None:
    """What it takes in time stands in the documentation of policy, where an instruction took some 10 ns."""
    made = compile_policy("balanced", many_rules(), shipped_rules("balanced"))
    assert made.early(usual_facts()) is None
    assert made.decide(usual_facts(report)).rule in ("clean", "malicious")
    usual = [steps(lambda: made.early(usual_facts())), steps(lambda: made.decide(usual_facts(report)))]
    new = [steps(lambda: made.early(new_facts(1))), steps(lambda: made.decide(new_facts(2, report)))]
    nothing = steps(usual_facts), steps(lambda: new_facts(3))
    plain = steps(lambda: [rule.holds(usual_facts(), report) for rule in made.rules])
    print(f"usual {usual}, new {new}, making the facts {nothing}, asking every rule {plain}")
    assert max(usual) - nothing[0] < 500
    assert max(new) - nothing[1] < 1_100
    assert plain > 5 * max(new)


@REPORTED
def test_ten_times_as_many_rules_take_the_same_steps(report: ScanReport) -> None:
    few, many = (compile_policy("balanced", many_rules(n), shipped_rules("balanced")) for n in (200, 2000))
    for made in (few, many):
        made.early(usual_facts())
        made.decide(usual_facts(report))
    assert steps(lambda: few.early(new_facts(1))) == steps(lambda: many.early(new_facts(1)))
    assert steps(lambda: few.decide(new_facts(2, report))) == steps(lambda: many.decide(new_facts(2, report)))


def test_a_policy_of_shipped_rules_alone_costs_nearly_nothing() -> None:
    made = compile_policy("balanced", [], shipped_rules("balanced"))
    facts = usual_facts(CLEAN)
    assert steps(lambda: made.early(facts)) < 20
    assert steps(lambda: made.decide(facts)) < 40


# What is kept


def test_what_is_known_is_bounded_in_number_and_length() -> None:
    asked: list[str] = []

    def find(text: str) -> int:
        asked.append(text)
        return len(text)

    known = Known(find, 7, len)
    assert [known[None], known["a"], known["a"]] == [7, 1, 1]
    assert asked == ["a"]
    longest = "x" * KEPT_CHARACTERS
    for text in (longest, longest + "x"):
        assert [known[text], known[text]] == [len(text)] * 2
    assert asked[1:] == [longest, longest + "x", longest + "x"]
    for number in range(KEPT * 3):
        known[str(number)]
        assert len(known) <= KEPT
    assert known[None] == 7


@pytest.mark.parametrize("key", ["group", "declared_type"])
def test_nothing_long_that_a_peer_sends_is_kept(key: str) -> None:
    """Origins choose the declared types of a response: as long as a head may be, and others each time."""
    rule = Rule.model_validate({"name": "r", "action": "block", "when": {key: "x/y"}})
    made = compile_policy("balanced", [rule], shipped_rules("balanced"))
    facts = usual_facts()

    def held(number: int) -> bool:
        texts = (f"{number}/" + "y" * KEPT_CHARACTERS,)
        if key == "group":
            facts.groups = texts
        else:
            facts.media_type, facts.media_types = texts[0], texts
        made.early(facts)
        references = sys.getrefcount(texts[0])
        made.early(facts)
        return sys.getrefcount(texts[0]) > references

    assert not held(1)
