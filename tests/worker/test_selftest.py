"""What a rule set is tried on, and what of its results stops a reload."""

from __future__ import annotations

import pytest

from icapd.errors import Problem
from icapd.worker.frames import PACKET_BYTES_MAX, Checked, Trial, encode, pack_problems
from icapd.worker.selftest import harmless_samples, notes_of, problems_of

GOOD = Trial(finds_eicar=True)
BLIND = Trial(finds_eicar=False)
FLAGS_HTML = Trial(finds_eicar=True, flagged={"html": "MALICIOUS: x"})


def test_harmless_samples_are_what_they_are_called() -> None:
    samples = dict(harmless_samples())

    assert set(samples) == {"text", "html", "javascript", "json", "pdf", "png", "zip", "docx"}
    assert [samples[name][:4] for name in ("pdf", "png", "zip", "docx")] == [
        b"%PDF", b"\x89PNG", b"PK\x03\x04", b"PK\x03\x04",
    ]  # fmt: skip
    assert dict(harmless_samples()) == samples


@pytest.mark.parametrize(
    ("trial", "before", "count"),
    [
        (GOOD, GOOD, 0),
        (GOOD, BLIND, 0),
        (BLIND, BLIND, 0),
        (BLIND, GOOD, 1),
        (FLAGS_HTML, GOOD, 1),
        (FLAGS_HTML, FLAGS_HTML, 0),
        (GOOD, FLAGS_HTML, 0),
    ],
)
def test_only_what_is_worse_than_before_is_a_problem(trial: Trial, before: Trial, count: int) -> None:
    assert len(list(problems_of(trial, before))) == count


def test_what_is_accepted_is_still_told() -> None:
    assert list(notes_of(GOOD)) == []
    assert len(list(notes_of(Trial(flagged={"html": "SUSPICIOUS"})))) == 2


def test_a_packet_takes_a_hundred_problems_and_says_how_many_more_there_are() -> None:
    problem = Problem("w" * 500, "ä" * 500)

    assert pack_problems([problem] * 100) == [(problem.where, problem.what)] * 100
    packed = pack_problems([Problem("w" * 501, "ä" * 501)] * 101)
    assert packed == [(problem.where, problem.what)] * 100 + [("", "and 1 more")]
    assert len(encode(Checked(packed))) <= PACKET_BYTES_MAX
