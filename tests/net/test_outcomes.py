"""Every outcome on the wire: its own word in header, access line, metric and page, and a rule of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

from icapd.config.pages import read_languages, read_pages
from icapd.config.schema import Settings
from icapd.errors import Overloaded, ScannerLost
from icapd.net.replies import Pages
from icapd.policy.outcomes import Result
from icapd.scan.model import EngineReport, Finding, FindingKind, Identity, Outcome, Severity
from icapd.scan.tree import Examination
from tests.net.inside import Inside, Wire
from tests.net.messages import respmod, text

URL = "http://site.example/file"
LIMIT_BYTES = 1_000
SETTINGS = Settings()
LANGUAGES = read_languages(SETTINGS, Path.cwd())
PAGES = read_pages(SETTINGS, Path.cwd(), LANGUAGES)
RULES = [{"name": f"own-{result}", "when": {"outcome": result.value}, "action": "block"} for result in Result]

Ends = Callable[[Inside, Wire], None]


def scanned(*findings: Finding, outcome: Outcome = Outcome.FOUND, engine: str = "yara") -> Ends:
    """A scanner has said so."""

    def end(inside: Inside, wire: Wire) -> None:
        report = EngineReport(engine, outcome if findings else Outcome.NOTHING_FOUND, findings)
        inside.scans.running[0].callback(Examination(Identity("text/plain", "text"), (report,), 100))

    return end


def found(kind: FindingKind) -> Ends:
    return scanned(Finding(kind, f"{kind}:something", "yara"))


def failed(error: Exception) -> Ends:
    return lambda inside, wire: inside.scans.running[0].errback(Failure(error))


def nothing(inside: Inside, wire: Wire) -> None:
    """It has been answered."""


def time_passes(inside: Inside, wire: Wire) -> None:
    inside.clock.advance(26)
    inside.factory.sweep()


ENDS: dict[Result, Ends] = {
    Result.CLEAN: scanned(),
    Result.MALICIOUS: found(FindingKind.MALWARE),
    Result.SUSPICIOUS: found(FindingKind.SUSPICIOUS),
    Result.FORBIDDEN: found(FindingKind.FORBIDDEN),
    Result.TOO_LARGE: nothing,
    Result.LIMIT: found(FindingKind.LIMIT),
    Result.UNSUPPORTED: found(FindingKind.UNSUPPORTED),
    Result.ENCRYPTED: found(FindingKind.ENCRYPTED),
    Result.CORRUPT: found(FindingKind.CORRUPT),
    Result.OVERLOADED: failed(Overloaded("full")),
    Result.TIMED_OUT: time_passes,
    Result.ENGINE_ABSENT: scanned(Finding(FindingKind.INFO, "note", "hashes", Severity.INFO), engine="hashes"),
    Result.ENGINE_FAILED: failed(ScannerLost("gone")),
    Result.NOT_SCANNED: nothing,
}


def asked(result: Result, *rules: dict[str, Any]) -> tuple[Inside, bytes]:
    """A server with these rules before the shipped ones, and its answer to a body that comes to this."""
    service = {"path": "/scan", "max_body_bytes": LIMIT_BYTES, "scan": result is not Result.NOT_SCANNED}
    inside = Inside({"yara": True}, policy=list(rules), service=[service])
    inside.gateway.pages = Pages(PAGES, "")
    body = text(LIMIT_BYTES + 1 if result is Result.TOO_LARGE else 100)
    request = respmod(body, "/scan", url=URL, allow="204")
    wire = inside.connect(request.head("x") + request.remainder())
    ENDS[result](inside, wire)
    inside.gateway.tick()
    return inside, wire.sent


@pytest.mark.parametrize("result", Result)
def test_each_outcome_has_a_rule_and_a_word_of_its_own(result: Result) -> None:
    inside, sent = asked(result, *RULES)
    [line] = map(json.loads, b"".join(inside.access).splitlines())
    shown = Result.FORBIDDEN if result in (Result.CLEAN, Result.NOT_SCANNED) else result
    assert (line["rule"], line["action"], line["outcome"]) == (f"own-{result}", "block", shown)
    info = sent.partition(b"X-Response-Info: ")[2].partition(b"\r\n")[0].decode()
    assert info.endswith(f"; action=block; rule=own-{result}; outcome={shown}")
    assert b"HTTP/1.1 403 Forbidden\r\n" in sent
    assert f"{shown} ({line['verdict']})".encode() in sent
    [counted] = [labels for labels, _ in inside.counters.values()["icapd_outcomes_total"]]
    assert counted == (shown, "/scan")


@pytest.mark.parametrize("result", Result)
def test_what_passes_says_its_outcome_all_the_same(result: Result) -> None:
    inside, sent = asked(result, {"name": "all", "action": "monitor", "when": {"outcome": list(map(str, Result))}})
    assert sent.startswith(b"ICAP/1.0 204 ")
    assert f"; action=monitor; rule=all; outcome={result}\r\n".encode() in sent
    [line] = map(json.loads, b"".join(inside.access).splitlines())
    assert (line["action"], line["outcome"]) == ("monitor", result)
