"""Answers over HTTP: the verdict on each file and on all of them, problems, and the status that goes with them.

The status says whether there is a verdict from a scan; what policy makes of it is `action`, or the status where the
client asked for that alone. The forms are those of `net/http_openapi.py`; tests hold both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from icapd.policy.facts import Decision
from icapd.policy.outcomes import Result, result_of
from icapd.scan.model import FindingKind, ScanReport, Verdict

JSON: Final = "application/json"
NOTHING: Final = "text/plain"
"""Of the empty body of an answer that is a status alone."""
PROBLEM_JSON: Final = "application/problem+json"

_RANK: Final = {
    verdict: rank
    for rank, verdict in enumerate(
        (
            Verdict.CLEAN,
            Verdict.NOT_SCANNED,
            Verdict.SUSPICIOUS,
            Verdict.FORBIDDEN,
            Verdict.UNSCANNABLE,
            Verdict.ERROR,
            Verdict.MALICIOUS,
        )
    )
}
_FORBIDDEN: Final = 403
_UNJUDGED: Final = (408, 413, 503)
"""There was no scan: the body came too slowly, was too large, or there was no room for it."""


class FindingAnswer(msgspec.Struct, frozen=True):
    """One finding. `trail` leads to the member it was found in, from the outermost container inwards."""

    kind: str
    name: str
    engine: str
    severity: str
    trail: tuple[str, ...]


class FileAnswer(msgspec.Struct, frozen=True):
    """The verdict on one file. `sha256` is None for one that did not come whole; `media_type` is the real one."""

    name: str
    verdict: str
    outcome: str
    action: str
    rule: str
    findings: tuple[FindingAnswer, ...]
    sha256: str | None
    size_bytes: int
    media_type: str
    cache: str
    elapsed_ms: float
    transaction: str


class UploadAnswer(msgspec.Struct, frozen=True):
    """The verdict on a multipart upload: the worst there is in any file, and the strictest action."""

    verdict: str
    outcome: str
    action: str
    rule: str
    elapsed_ms: float
    files: tuple[FileAnswer, ...]


class _Problem(msgspec.Struct, frozen=True):
    """Spec: RFC 9457."""

    status: int
    title: str
    detail: str


encode = msgspec.json.Encoder().encode


def file_answer(
    report: ScanReport,
    decision: Decision,
    *,
    name: str,
    sha256: str | None,
    size_bytes: int,
    cache: str,
    elapsed_s: float,
    transaction: str,
) -> FileAnswer:
    """What is said of one file."""
    return FileAnswer(
        name=name,
        verdict=report.verdict,
        outcome=result_of(report, decision),
        action=decision.action,
        rule=decision.rule,
        findings=tuple(
            FindingAnswer(each.kind, each.name, each.engine, each.severity.name.lower(), each.trail)
            for each in report.findings
        ),
        sha256=sha256,
        size_bytes=size_bytes,
        media_type=report.identity.media_type,
        cache=cache,
        elapsed_ms=int(elapsed_s * 1_000_000) / 1000,
        transaction=transaction,
    )


def upload_answer(files: Sequence[FileAnswer]) -> UploadAnswer:
    """What is said of several files at once."""
    worst = max(files, key=lambda file: _RANK[Verdict(file.verdict)])
    strictest = max(files, key=lambda file: (_refuses(file), file.action == "monitor", file is worst))
    return UploadAnswer(
        verdict=worst.verdict,
        outcome=worst.outcome,
        action=strictest.action,
        rule=strictest.rule,
        elapsed_ms=max(file.elapsed_ms for file in files),
        files=tuple(files),
    )


def status_of(files: Sequence[FileAnswer]) -> int:
    """200 where every file was judged; else why one was not."""
    return next((status for status in _UNJUDGED if any(_own_status(file) == status for file in files)), 200)


def bare_status_of(files: Sequence[FileAnswer]) -> int:
    """For who reads no JSON: 200 is what policy lets pass, whatever the reason; 403 what it blocks by a verdict.

    What did not come whole cannot pass, as nobody knows what it is.
    """
    refused = [file for file in files if _refuses(file) or _own_status(file) == 408]
    if not refused:
        return 200
    status = status_of(refused)
    return _FORBIDDEN if status == 200 or any(_own_status(file) == 200 for file in refused) else status


def _refuses(file: FileAnswer) -> bool:
    return file.action in ("block", "redirect")


def _own_status(file: FileAnswer) -> int:
    if file.outcome == Result.TOO_LARGE:
        return 413
    if file.outcome == Result.OVERLOADED:
        return 503
    slow = any(each.kind == FindingKind.TIMEOUT and each.name == "body-timed-out" for each in file.findings)
    return 408 if slow else 200


def problem(status: int, detail: str) -> bytes:
    """The body of an answer that is no verdict."""
    return encode(_Problem(status, HTTPStatus(status).phrase, detail))
