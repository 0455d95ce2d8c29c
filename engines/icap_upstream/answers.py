"""What another ICAP server's answers mean. Pure: a reply in, a report out.

Servers say what they found in headers that no standard has, of which the three here are what most send. A body that
comes back changed, without such a header, is not taken for clean: nobody replaces what is harmless.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from engines.icap_upstream import IcapOptions
from icapd.icap.reply import ReplyHead
from icapd.scan.engine_api import RemoteFailed
from icapd.scan.model import EngineReport, Finding, FindingKind, Outcome, Severity

NAME: Final = "icap"
LARGE: Final = "engines.icap.max_bytes"
MODIFIED: Final = "icap:modified"
_UNNAMED: Final = "icap:unnamed"
_NAME_CHARACTERS_MAX: Final = 200
_NO_CONTENT: Final = 204
_OK: Final = 200
_TYPE = re.compile(r"(?:^|;)\s*Type\s*=\s*([0-9])", re.IGNORECASE)
_THREAT = re.compile(r"(?:^|;)\s*Threat\s*=\s*([^;]*)", re.IGNORECASE)
_COUNT = re.compile(r"\s*([0-9]+)\s*(.*)", re.DOTALL)

_KINDS: Final = {
    "0": (FindingKind.MALWARE, Severity.HIGH),
    "1": (FindingKind.FORBIDDEN, Severity.MEDIUM),
    "2": (FindingKind.LIMIT, Severity.MEDIUM),
}
"""X-Infection-Found's types: an infection; what the server's policy forbids; a container that it does not open."""
_WEIGHTS: Final = {
    "malware": (FindingKind.MALWARE, Severity.HIGH),
    "suspicious": (FindingKind.SUSPICIOUS, Severity.MEDIUM),
    "info": (FindingKind.INFO, Severity.INFO),
}


class Answer(NamedTuple):
    """A reply, and whether the body in it is the very one that was sent."""

    head: ReplyHead
    is_unchanged: bool


def report_of(answer: Answer, options: IcapOptions) -> EngineReport:
    """Raises: RemoteFailed for a reply that judges nothing."""
    head = answer.head
    if not _OK <= head.status < 300:
        raise RemoteFailed(f"the server answers {head.status} {head.reason}"[:_NAME_CHARACTERS_MAX])
    finding = _named(head)
    if finding is None:
        if head.status == _NO_CONTENT or (answer.is_unchanged and head.http_status == _OK):
            return EngineReport(NAME, Outcome.NOTHING_FOUND)
        kind, severity = _WEIGHTS[options.modified]
        finding = Finding(kind, MODIFIED, NAME, severity)
    outcome = Outcome.UNSCANNABLE if finding.kind is FindingKind.LIMIT else Outcome.FOUND
    return EngineReport(NAME, outcome, (finding,))


def too_large(options: IcapOptions) -> EngineReport:
    """A body that the server is not asked about."""
    is_unscannable = options.past_max_bytes == "unscannable"
    finding = Finding(FindingKind.LIMIT, LARGE, NAME, Severity.MEDIUM if is_unscannable else Severity.INFO)
    return EngineReport(NAME, Outcome.UNSCANNABLE if is_unscannable else Outcome.SKIPPED, (finding,), reason=LARGE)


def _named(head: ReplyHead) -> Finding | None:
    """The threat that the server names."""
    infection = head.field("x-infection-found")
    if infection is not None:
        type_, threat = _TYPE.search(infection), _THREAT.search(infection)
        kind, severity = _KINDS.get(type_[1] if type_ else "0", _KINDS["0"])
        return Finding(kind, _name(threat[1] if threat else infection), NAME, severity)
    virus = head.field("x-virus-id")
    if virus is not None:
        return Finding(FindingKind.MALWARE, _name(virus), NAME)
    violations = _COUNT.fullmatch(head.field("x-violations-found") or "")
    if violations is not None and int(violations[1]):
        return Finding(FindingKind.MALWARE, _name(violations[2]), NAME)
    return None


def _name(text: str) -> str:
    return text.strip()[:_NAME_CHARACTERS_MAX] or _UNNAMED
