"""What clamd's answers mean. Pure: a line in, a report out. What is not understood is never taken for clean."""

from __future__ import annotations

import re
from typing import Final

from engines.clamd import ClamdOptions, Weight
from icapd.scan.engine_api import RemoteFailed
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, Severity

NAME: Final = "clamd"
SIZE_LIMIT: Final = "INSTREAM size limit exceeded. ERROR"
_VERDICT = re.compile(r"(?:stream|fd\[[0-9]+\]): (?:(OK)|(.+) FOUND)")
_NAME_CHARACTERS_MAX = 200
_REASON_CHARACTERS_MAX = 200

_KINDS: Final[dict[Weight, tuple[FindingKind, Severity]]] = {
    "malware": (FindingKind.MALWARE, Severity.HIGH),
    "suspicious": (FindingKind.SUSPICIOUS, Severity.MEDIUM),
    "info": (FindingKind.INFO, Severity.INFO),
}


def report_of(answer: str, options: ClamdOptions) -> EngineReport:
    """What one answer says of the body it is about.

    Raises: RemoteFailed for what is no answer to the question.
    """
    if answer == SIZE_LIMIT:
        return _unscannable(FindingKind.LIMIT, "clamd.StreamMaxLength")
    if answer.endswith("ERROR"):
        return EngineReport(NAME, Outcome.FAILED, reason=answer[:_REASON_CHARACTERS_MAX])
    match = _VERDICT.fullmatch(answer)
    if match is None:
        raise RemoteFailed(f"not an answer of clamd: {answer[:_REASON_CHARACTERS_MAX]!r}")
    return EngineReport(NAME, Outcome.NOTHING_FOUND) if match[1] else _found(match[2], options)


def too_large(options: ClamdOptions) -> EngineReport:
    """A body that clamd is not asked about."""
    if options.past_max_bytes == "unscannable":
        return _unscannable(FindingKind.LIMIT, "engines.clamd.max_bytes")
    return _skipped(FindingKind.LIMIT, "engines.clamd.max_bytes")


def coded(coding: str) -> EngineReport:
    """A body in a coding that clamd does not undo: it would look at the packed bytes, and find nothing in them.

    Recorded, and left to the scanners, which undo it.
    """
    return _skipped(FindingKind.UNSUPPORTED, f"clamd:coding-{re.sub(r'[^a-z0-9.-]', '_', coding)[:32]}")


def _unscannable(kind: FindingKind, name: str) -> EngineReport:
    return EngineReport(NAME, Outcome.UNSCANNABLE, (Finding(kind, name, NAME, Severity.MEDIUM),))


def _skipped(kind: FindingKind, name: str) -> EngineReport:
    return EngineReport(NAME, Outcome.SKIPPED, (Finding(kind, name, NAME, Severity.INFO),), reason=name)


def _found(name: str, options: ClamdOptions) -> EngineReport:
    name = name[:_NAME_CHARACTERS_MAX]
    if name.startswith("Heuristics.Limits.Exceeded"):
        return _unscannable(FindingKind.LIMIT, name)
    if name.startswith("Heuristics.Encrypted."):
        return _unscannable(FindingKind.ENCRYPTED, name)
    kind, severity = _KINDS[_weight(name, options)]
    return EngineReport(NAME, Outcome.FOUND, (Finding(kind, name, NAME, severity),))


def _weight(name: str, options: ClamdOptions) -> Weight:
    if name.startswith("Heuristics."):
        return options.heuristics
    if name.startswith("PUA."):
        return options.unwanted
    return options.unofficial if name.endswith(".UNOFFICIAL") else "malware"
