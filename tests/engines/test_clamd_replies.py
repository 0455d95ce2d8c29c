"""What clamd's answers mean; no clamd needed."""

from __future__ import annotations

import pytest

from engines.clamd import SPEC, ClamdOptions
from engines.clamd.replies import coded, report_of, too_large
from icapd.scan.engine_api import RemoteFailed
from icapd.scan.merge import merge
from icapd.scan.model import FindingKind, Outcome, Verdict
from icapd.scan.tree import Examination

OPTIONS = ClamdOptions()
REQUIRED = {"clamd"}


def verdict_of(answer: str, options: ClamdOptions = OPTIONS) -> Verdict:
    return merge(Examination(), REQUIRED, [report_of(answer, options)]).verdict


@pytest.mark.parametrize(
    ("answer", "outcome", "verdict"),
    [
        ("stream: OK", Outcome.NOTHING_FOUND, Verdict.CLEAN),
        ("fd[11]: OK", Outcome.NOTHING_FOUND, Verdict.CLEAN),
        ("stream: Win.Test.EICAR_HDB-1 FOUND", Outcome.FOUND, Verdict.MALICIOUS),
        ("fd[7]: A name: with OK in it FOUND", Outcome.FOUND, Verdict.MALICIOUS),
        ("stream: Local.Mark.UNOFFICIAL FOUND", Outcome.FOUND, Verdict.MALICIOUS),
        ("stream: PUA.Win.Tool.Packed-1 FOUND", Outcome.FOUND, Verdict.SUSPICIOUS),
        ("stream: Heuristics.OLE2.ContainsMacros FOUND", Outcome.FOUND, Verdict.SUSPICIOUS),
        ("stream: Heuristics.Encrypted.Zip FOUND", Outcome.UNSCANNABLE, Verdict.UNSCANNABLE),
        ("fd[9]: Heuristics.Limits.Exceeded.MaxFileSize FOUND", Outcome.UNSCANNABLE, Verdict.UNSCANNABLE),
        ("INSTREAM size limit exceeded. ERROR", Outcome.UNSCANNABLE, Verdict.UNSCANNABLE),
        ("stream: Can't allocate memory ERROR", Outcome.FAILED, Verdict.ERROR),
        ("fd[3]: Time limit reached ERROR", Outcome.FAILED, Verdict.ERROR),
        ("Command invalid inside IDSESSION. ERROR", Outcome.FAILED, Verdict.ERROR),
    ],
)
def test_every_answer_has_its_outcome(answer: str, outcome: Outcome, verdict: Verdict) -> None:
    assert report_of(answer, OPTIONS).outcome is outcome
    assert verdict_of(answer) is verdict


@pytest.mark.parametrize("answer", ["", "OK", "stream OK", "stream: ok", "stream: OK\n", "PONG", "stream: FOUND"])
def test_what_is_not_understood_is_not_clean(answer: str) -> None:
    with pytest.raises(RemoteFailed):
        report_of(answer, OPTIONS)


def test_kinds_of_what_could_not_be_judged() -> None:
    kinds = [
        report_of(answer, OPTIONS).findings[0].kind
        for answer in ("stream: Heuristics.Encrypted.PDF FOUND", "INSTREAM size limit exceeded. ERROR")
    ]
    assert kinds == [FindingKind.ENCRYPTED, FindingKind.LIMIT]


def test_weights_are_the_operator_s() -> None:
    options = ClamdOptions(heuristics="malware", unwanted="info", unofficial="suspicious")
    assert verdict_of("stream: Heuristics.Phishing.Email FOUND", options) is Verdict.MALICIOUS
    assert verdict_of("stream: PUA.Tool FOUND", options) is Verdict.CLEAN
    assert verdict_of("stream: Local.Mark.UNOFFICIAL FOUND", options) is Verdict.SUSPICIOUS


def test_a_body_that_is_too_large_is_unscannable_or_left_out_and_recorded_either_way() -> None:
    unscannable, skipped = too_large(OPTIONS), too_large(ClamdOptions(past_max_bytes="skip"))
    assert (unscannable.outcome, skipped.outcome) == (Outcome.UNSCANNABLE, Outcome.SKIPPED)
    merged = merge(Examination(), REQUIRED, [skipped])
    assert merged.verdict is Verdict.CLEAN
    assert [finding.name for finding in merged.findings] == ["engines.clamd.max_bytes"]


def test_a_coding_that_clamd_does_not_undo_is_recorded() -> None:
    report = coded("br, \r\nX: 1")
    assert report.outcome is Outcome.SKIPPED
    assert [finding.name for finding in report.findings] == ["clamd:coding-br_______1"]


def test_it_is_off_unless_asked_for() -> None:
    assert SPEC.is_remote
    assert not ClamdOptions().enabled


@pytest.mark.parametrize("address", ["clamd", "tcp://", "unix:relative", "http://localhost:3310", "tcp://host:99999"])
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        ClamdOptions(address=address)
