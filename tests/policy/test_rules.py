"""Each condition: what meets it, what does not, and what is not known before the scan."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icapd.config.schema import Rule, When
from icapd.errors import ConfigurationError
from icapd.policy.conditions import client_address
from icapd.policy.facts import Facts
from icapd.policy.names import Names
from icapd.policy.outcomes import Result
from icapd.policy.rules import CompiledRule, Match, compile_rule
from icapd.scan.merge import verdict_of
from icapd.scan.model import Finding, FindingKind, Identity, ScanReport, Severity, Verdict
from tests.policy.test_index import EXAMPLES

PNG = Identity("image/png", "image")
CLEAN = ScanReport(Verdict.CLEAN)


def compiled(action: str = "block", **when: Any) -> CompiledRule:
    return compile_rule(Rule.model_validate({"name": "r", "action": action, "when": when}), "policy[0]")


def test_a_rule_without_conditions_holds_at_once() -> None:
    rule = compiled()
    assert rule.early(Facts()) is Match.YES
    assert rule.holds(Facts(), CLEAN)
    assert rule.answers(Result.CLEAN)


@pytest.mark.parametrize(
    ("when", "yes", "no"),
    [
        ({"method": "reqmod"}, Facts(method="REQMOD"), Facts(method="RESPMOD")),
        ({"service": ["/a", "/b"]}, Facts(service="/b"), Facts(service="/B")),
        ({"http_method": "post"}, Facts(http_method="POST"), Facts(http_method="GET")),
        ({"extension": "exe"}, Facts(extension="EXE"), Facts(extension="ex")),
        ({"extension": "doc?"}, Facts(extension="docm"), Facts(extension="doc")),
        ({"user": "guest*"}, Facts(user="Guest-7"), Facts(user="a-guest")),
        ({"user": "CORP\\alice"}, Facts(user="corp\\Alice"), Facts(user="corp\\bob")),
        ({"user": "alice"}, Facts(user="WinNT://CORP/Alice"), Facts(user="WinNT://CORP/alice/x")),
        ({"user": "corp\\alice"}, Facts(user="WinNT://CORP/alice"), Facts(user="WinNT://OTHER/alice")),
        ({"user": "winnt://corp/*"}, Facts(user="WinNT://CORP/alice"), Facts(user="Local://alice")),
        ({"user": "alice"}, Facts(user="Local://alice"), Facts(user="odd://alice")),
        ({"group": "staff"}, Facts(groups=("x", "WinNT://CORP/Staff")), Facts(groups=("staffers",))),
        ({"group": ["a*", "b"]}, Facts(groups=("abc",)), Facts(groups=("c",))),
        ({"url": "*/get/*.exe"}, Facts(url="http://h/GET/a.exe"), Facts(url="http://h/get.exe")),
        ({"url": "http://h/*"}, Facts(url="http://h/"), Facts(url="https://h/")),
        ({"time": "08:00-18:00"}, Facts(week_minute=480), Facts(week_minute=1080)),
        ({"weekday": "tue"}, Facts(week_minute=1440), Facts(week_minute=1439)),
        ({"time": "22:00-06:00", "weekday": "mon"}, Facts(week_minute=1440 + 359), Facts(week_minute=359)),
        ({"host": "example.org"}, Facts(host="Example.org"), Facts(host="www.example.org")),
        ({"host": ".example.org"}, Facts(host="example.org"), Facts(host="badexample.org")),
        ({"host": ".example.org"}, Facts(host="a.b.EXAMPLE.org."), Facts(host="example.org.evil.test")),
        ({"host": "cdn?.example.org"}, Facts(host="cdn1.example.org"), Facts(host="cdn.example.org")),
        ({"client": "192.0.2.0/24"}, Facts(client="192.0.2.255"), Facts(client="192.0.3.0")),
        ({"client": "192.0.2.7"}, Facts(client="::ffff:192.0.2.7"), Facts(client="192.0.2.70")),
        ({"client": "2001:db8::/32"}, Facts(client="2001:db8::1"), Facts(client="192.0.2.1")),
        ({"client": "0.0.0.0/0"}, Facts(client="192.0.2.1"), Facts(client="::1")),
        ({"client": "192.0.2.7"}, Facts(client="192.0.2.7, 198.51.100.1"), Facts(client="198.51.100.1,192.0.2.7")),
        ({"client": "192.0.2.7"}, Facts(client="192.0.2.7:1344"), Facts(client="192.0.2.8:1344")),
        ({"client": "192.0.2.7"}, Facts(client=" 192.0.2.7:0 ,x"), Facts(client="")),
        ({"client": "2001:db8::1"}, Facts(client="[2001:db8::1]:1344"), Facts(client="[2001:db8::2]:1344")),
        ({"client": "2001:db8::1"}, Facts(client="[2001:db8::1]"), Facts(client="2001:db8::1:1344")),
    ],
)
def test_conditions_on_the_heads_are_known_early(when: dict[str, Any], yes: Facts, no: Facts) -> None:
    for action in ("allow", "block", "monitor"):
        rule = compiled(action, **when)
        assert rule.early(yes) is Match.YES
        assert rule.holds(yes, CLEAN)
        for facts in (no, Facts()):
            assert rule.early(facts) is Match.NO
            assert not rule.holds(facts, CLEAN)


@pytest.mark.parametrize(
    "client", ["no address", "192.0.2.7:x", "192.0.2.7 192.0.2.8", "192.0.2.256", ",192.0.2.7", "[]:1"]
)
def test_a_client_that_is_no_address_is_only_ever_blocked(client: str) -> None:
    facts = Facts(client=client)
    assert compiled("block", client="192.0.2.7").early(facts) is Match.YES
    for action in ("allow", "monitor"):
        assert compiled(action, client=["0.0.0.0/0", "::/0"]).early(facts) is Match.NO


def test_a_path_written_otherwise_is_blocked_and_never_let_pass() -> None:
    for url in ("http://h/%67et/a", "http://h/x/../get/a", "http://h//get/./a"):
        assert compiled("block", url="http://h/get/*").early(Facts(url=url)) is Match.YES
        assert compiled("allow", url="http://h/get/*").early(Facts(url=url)) is Match.NO
    trick = Facts(url="http://h/good/%2e%2e/bad")
    assert compiled("allow", url="http://h/good/*").early(trick) is Match.NO
    assert compiled("block", url="http://h/bad").early(trick) is Match.YES


def test_a_declared_type_is_any_of_several_for_a_block_and_all_for_what_passes() -> None:
    several = Facts(media_type="image/png", media_types=("image/png", "text/html"))
    assert compiled("block", declared_type="image/*").early(several) is Match.YES
    both = {"declared_type": "image/*", "real_type": "image/*"}
    assert not compiled("allow", **both).holds(several, ScanReport(Verdict.CLEAN, identity=PNG))
    one = Facts(media_type="image/png; a=b")
    assert compiled("allow", **both).holds(one, ScanReport(Verdict.CLEAN, identity=PNG))
    assert compiled("block", declared_type="image/*").early(Facts()) is Match.NO


def test_a_real_type_is_never_a_claim() -> None:
    rule = compiled("block", real_type="image/*")
    assert rule.early(Facts(media_type="image/png")) is Match.NOT_YET_KNOWN
    assert not rule.holds(Facts(media_type="image/png"), CLEAN)
    assert rule.holds(Facts(media_type="text/html"), ScanReport(Verdict.CLEAN, identity=PNG))


def test_one_finding_must_meet_name_severity_and_engine() -> None:
    when = {"finding": "macro*", "severity": ["medium", "high"], "engine": "off*"}
    weak, strong = (
        Finding(FindingKind.SUSPICIOUS, "macro", "office", level) for level in (Severity.LOW, Severity.HIGH)
    )
    elsewhere = Finding(FindingKind.SUSPICIOUS, "macro", "yara", Severity.HIGH)
    for action in ("block", "monitor"):
        assert compiled(action, **when).holds(Facts(), report(strong))
        assert not compiled(action, **when).holds(Facts(), report(weak, elsewhere))
    assert compiled("block", **when).holds(Facts(), report(strong, weak))
    assert not compiled("monitor", **when).holds(Facts(), report(strong, weak))
    assert compiled("block", severity="info").holds(Facts(), ScanReport(Verdict.CLEAN, (NOTE,)))
    assert not compiled("block", severity="low").holds(Facts(), ScanReport(Verdict.CLEAN, (NOTE,)))


def test_all_conditions_must_hold() -> None:
    rule = compiled(method="REQMOD", host=".example.org")
    assert rule.early(Facts(method="REQMOD", host="www.example.org")) is Match.YES
    assert rule.early(Facts(method="REQMOD", host="example.com")) is Match.NO
    assert rule.early(Facts(method="RESPMOD", host="example.org")) is Match.NO


@pytest.mark.parametrize("when", [{"verdict": "malicious"}, {"finding": "macro*"}])
def test_verdict_and_finding_are_not_known_early(when: dict[str, Any]) -> None:
    assert compiled(**when).early(Facts()) is Match.NOT_YET_KNOWN
    assert compiled(**when, method="REQMOD").early(Facts(method="RESPMOD")) is Match.NO


@pytest.mark.parametrize("pattern", ["encrypted", "ENCRYPTED", "zip.*", "Zip.Encrypted", "*crypt*"])
def test_finding_is_a_kind_or_a_name(pattern: str) -> None:
    rule = compiled(finding=pattern)
    hit = Finding(FindingKind.ENCRYPTED, "Zip.Encrypted", "archive")
    other = Finding(FindingKind.LIMIT, "archive.max_depth", "archive")
    assert rule.holds(Facts(), ScanReport(Verdict.UNSCANNABLE, (other, hit)))
    assert not rule.holds(Facts(), ScanReport(Verdict.UNSCANNABLE, (other,)))
    assert not rule.holds(Facts(), CLEAN)


MALWARE = Finding(FindingKind.MALWARE, "Eicar", "yara")
MACRO = Finding(FindingKind.SUSPICIOUS, "macro", "office", Severity.LOW)
ENCRYPTED = Finding(FindingKind.ENCRYPTED, "encrypted:zip", "archive", Severity.MEDIUM)
LIMIT = Finding(FindingKind.LIMIT, "archive.max_depth", "archive", Severity.MEDIUM)
UNSUPPORTED = Finding(FindingKind.UNSUPPORTED, "unsupported:7z", "archive", Severity.MEDIUM)
FORBIDDEN = Finding(FindingKind.FORBIDDEN, "list", "yara")
FAILED = Finding(FindingKind.FAILED, "failed:yara", "yara")
NOTE = Finding(FindingKind.UNSUPPORTED, "not-opened:pdf", "archive", Severity.INFO)
LISTED = Finding(FindingKind.ALLOWED, "list", "hashes", certain=True)


def report(*findings: Finding) -> ScanReport:
    return ScanReport(verdict_of(findings), findings)


@pytest.mark.parametrize(
    ("when", "findings", "passes"),
    [
        ({"finding": "encrypted"}, [ENCRYPTED], True),
        ({"finding": "encrypted"}, [ENCRYPTED, NOTE], True),
        ({"finding": "encrypted"}, [ENCRYPTED, LISTED], True),
        ({"finding": "encrypted"}, [ENCRYPTED, MALWARE], False),
        ({"finding": "encrypted"}, [ENCRYPTED, MACRO], False),
        ({"finding": "encrypted"}, [ENCRYPTED, LIMIT], False),
        ({"finding": ["encrypted", "macro"]}, [ENCRYPTED, MACRO], True),
        ({"finding": "*"}, [ENCRYPTED, MALWARE], True),
        ({"finding": "not-opened:*"}, [NOTE], True),
        ({"finding": "not-opened:*"}, [NOTE, MACRO], False),
        ({"finding": "encrypted"}, [], False),
        ({"finding": "unsupported", "verdict": "UNSCANNABLE"}, [UNSUPPORTED], True),
        ({"finding": "unsupported", "verdict": "UNSCANNABLE"}, [UNSUPPORTED, LIMIT], False),
        ({"finding": ["unsupported", "limit"], "verdict": "UNSCANNABLE"}, [UNSUPPORTED, LIMIT], True),
        ({"finding": "unsupported", "verdict": "UNSCANNABLE"}, [UNSUPPORTED, MACRO], True),
        ({"finding": "unsupported", "verdict": ["UNSCANNABLE", "SUSPICIOUS"]}, [UNSUPPORTED, MACRO], False),
        ({"finding": "unsupported", "verdict": "UNSCANNABLE"}, [UNSUPPORTED, FAILED], False),
        ({"finding": "not-opened:*", "verdict": "UNSCANNABLE"}, [NOTE, LIMIT], False),
        ({"verdict": "SUSPICIOUS"}, [MACRO, ENCRYPTED], False),
    ],
)
@pytest.mark.parametrize("action", ["allow", "monitor"])
def test_a_permissive_rule_by_findings_names_all_that_count(
    action: str, when: dict[str, Any], findings: list[Finding], passes: bool
) -> None:
    for ordered in (findings, findings[::-1]):
        assert compiled(action, **when).holds(Facts(), report(*ordered)) is passes


@pytest.mark.parametrize(
    ("when", "findings", "blocks"),
    [
        ({"finding": "encrypted"}, [ENCRYPTED, MALWARE], True),
        ({"finding": "macro"}, [ENCRYPTED, MACRO], True),
        ({"verdict": "SUSPICIOUS"}, [MACRO], True),
        ({"verdict": "SUSPICIOUS"}, [MACRO, ENCRYPTED], True),
        ({"verdict": "SUSPICIOUS"}, [MACRO, FAILED], True),
        ({"verdict": "SUSPICIOUS"}, [ENCRYPTED], False),
        ({"verdict": "SUSPICIOUS", "finding": "macro"}, [MACRO, ENCRYPTED], True),
        ({"verdict": "SUSPICIOUS", "finding": "limit"}, [MACRO, ENCRYPTED], False),
        ({"verdict": "FORBIDDEN"}, [FORBIDDEN, ENCRYPTED, FAILED], True),
        ({"verdict": "UNSCANNABLE"}, [MACRO], False),
        ({"verdict": "CLEAN"}, [NOTE, ENCRYPTED], False),
        ({"verdict": "MALICIOUS"}, [MALWARE, LISTED], False),
    ],
)
def test_a_block_rule_sees_what_another_finding_outranks(
    when: dict[str, Any], findings: list[Finding], blocks: bool
) -> None:
    for ordered in (findings, findings[::-1]):
        assert compiled("block", **when).holds(Facts(), report(*ordered)) is blocks


def test_a_bracket_is_a_plain_character() -> None:
    assert "win.[a]1" in Names(["win.[a]*"])
    assert "win.a1" not in Names(["win.[a]*"])


def test_wildcards_do_not_backtrack() -> None:
    assert "a" * 60_000 not in Names(["*a" * 20 + "*b"])


def test_a_block_rule_believes_the_declared_type_and_the_real_one() -> None:
    rule = compiled("block", media_type="image/*")
    assert rule.early(Facts(media_type="Image/PNG; a=b")) is Match.YES
    assert rule.early(Facts(media_type="text/html")) is Match.NOT_YET_KNOWN
    assert rule.early(Facts()) is Match.NOT_YET_KNOWN
    assert rule.holds(
        Facts(media_type="image/png"), ScanReport(Verdict.CLEAN, identity=Identity("text/html", "markup"))
    )
    assert rule.holds(Facts(media_type="text/html"), ScanReport(Verdict.CLEAN, identity=PNG))
    assert not rule.holds(Facts(media_type="text/html"), CLEAN)


def test_a_block_rule_believes_each_of_several_declared_types() -> None:
    for types in (("image/png", "text/html"), ("text/html", "image/png")):
        facts = Facts(media_type=types[0], media_types=types)
        assert compiled("block", media_type="image/*").early(facts) is Match.YES
        assert compiled("block", media_type="audio/*").early(facts) is Match.NOT_YET_KNOWN
        assert not compiled("allow", media_type="image/*").holds(facts, CLEAN)


@pytest.mark.parametrize("action", ["allow", "monitor"])
def test_a_permissive_rule_believes_the_real_type_only(action: str) -> None:
    rule = compiled(action, media_type="image/*")
    assert rule.early(Facts(media_type="image/png")) is Match.NOT_YET_KNOWN
    assert not rule.holds(Facts(media_type="image/png"), CLEAN)
    assert rule.holds(Facts(media_type="text/html"), ScanReport(Verdict.CLEAN, identity=PNG))


def test_a_body_nobody_identified_has_no_real_type() -> None:
    rule = compiled("allow", media_type="application/octet-stream")
    assert not rule.holds(Facts(media_type="application/octet-stream"), ScanReport(Verdict.ERROR))


@pytest.mark.parametrize(
    ("when", "inside", "outside"),
    [
        ({"size_over_bytes": 100}, 101, 100),
        ({"size_under_bytes": 100}, 99, 100),
        ({"size_over_bytes": 9, "size_under_bytes": 11}, 10, 11),
        ({"size_over_bytes": 0}, 1, 0),
    ],
)
def test_size_at_its_bounds(when: dict[str, Any], inside: int, outside: int) -> None:
    block, allow = compiled("block", **when), compiled("allow", **when)
    assert block.early(Facts(size_bytes=inside)) is Match.YES
    assert block.early(Facts(size_bytes=outside)) is Match.NOT_YET_KNOWN
    assert allow.early(Facts(size_bytes=inside)) is Match.NOT_YET_KNOWN
    for rule in (block, allow):
        assert rule.holds(Facts(), ScanReport(Verdict.CLEAN, size_bytes=inside))
        assert not rule.holds(Facts(), ScanReport(Verdict.CLEAN, size_bytes=outside))
    lied = Facts(size_bytes=inside), ScanReport(Verdict.CLEAN, size_bytes=outside)
    assert block.holds(*lied)
    assert not allow.holds(*lied)


def test_a_size_range_wants_one_size_inside_it() -> None:
    rule = compiled("block", size_over_bytes=10, size_under_bytes=100)
    assert not rule.holds(Facts(size_bytes=5), ScanReport(Verdict.CLEAN, size_bytes=200))


@pytest.mark.parametrize(
    ("when", "where", "what"),
    [
        ({"verdict": "MALICOUS"}, "when.verdict", "did you mean MALICIOUS?"),
        ({"verdict": "virus"}, "when.verdict", "is no verdict; they are CLEAN"),
        ({"method": "GET"}, "when.method", "http_method"),
        ({"client": ["192.0.2.0/24", "192.0.2.0/33"]}, "when.client", '"192.0.2.0/33": wants an address'),
        ({"host": "https://example.org"}, "when.host", "wants a host name"),
        ({"host": "."}, "when.host", "wants a host name"),
        ({"media_type": "png"}, "when.media_type", "wants type/subtype"),
        ({"extension": ".exe"}, "when.extension", "without a dot"),
        ({"user": ""}, "when.user", "is empty"),
        ({"finding": []}, "when.finding", "is empty"),
        ({"service": ["/a", ""]}, "when.service", "is empty"),
        ({"size_over_bytes": 9, "size_under_bytes": 10}, "when", "no size is over 9 and under 10"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(when: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        compiled(**when)
    (problem,) = refused.value.problems
    assert problem.where == f"policy[0].{where}"
    assert what in problem.what


def test_every_condition_of_the_schema_is_compiled() -> None:
    values: dict[str, Any] = {
        "verdict": "CLEAN",
        "outcome": "clean",
        "severity": "high",
        "declared_type": "a/b",
        "real_type": "a/b",
        "time": "08:00-18:00",
        "weekday": "mon",
        "method": "REQMOD",
        "client": "192.0.2.1",
        "size_over_bytes": 1,
        "size_under_bytes": 9,
        "media_type": "a/b",
    }
    for key in When.model_fields:
        assert not compiled(**{key: values.get(key, "x")}).answers(Result.MALICIOUS), key


TEXTS_OF_CLIENTS = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}", fullmatch=True),
    st.from_regex(r"\[?[0-9a-f:.]{1,20}\]?(:[0-9]{1,5})?", fullmatch=True),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.ip_addresses().map(lambda address: f" {address} , 192.0.2.1"),
)


@EXAMPLES
@given(TEXTS_OF_CLIENTS)
def test_a_client_is_the_address_that_the_standard_library_reads(text: str) -> None:
    first = text.partition(",")[0].strip()
    port = re.fullmatch(r"\[(.*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}", first)
    try:
        address = ipaddress.ip_address(first if port is None else port[1] or port[2])
    except ValueError:
        assert client_address(text) is None
        return
    plain = getattr(address, "ipv4_mapped", None) or address
    assert client_address(text) == (plain.version, int(plain))
