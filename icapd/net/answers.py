"""The ICAP and HTTP heads of answers: verdict headers, block pages, OPTIONS.

Header names and forms are those that Squid, Rspamd, Nextcloud and others read; names from rules and archives are
cleaned before they get into a header.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache

from icapd import PRODUCT
from icapd.icap import Reply, RequestHead
from icapd.icap.events import Stream
from icapd.net.edits import edited
from icapd.net.profiles import Profile
from icapd.policy.facts import Action, Decision, HeaderEdits
from icapd.policy.outcomes import result_of
from icapd.policy.page import Drawn
from icapd.scan.model import UNSCANNABLE_KINDS, Finding, FindingKind, ScanReport, Severity, Verdict

PENDING_FIELDS = b"X-Response-Info: PENDING\r\n"
"""Of an answer that begins before the verdict."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._:@+/-]+")
_NAME_CHARACTERS_MAX = 100
_REDIRECTS = {302: b"Found", 303: b"See Other", 307: b"Temporary Redirect"}
_INFECTIONS = frozenset({FindingKind.MALWARE, FindingKind.SUSPICIOUS})
_UNJUDGED = frozenset({Verdict.UNSCANNABLE, Verdict.ERROR})


def header_text(text: str) -> str:
    """Text that can stand in a header: ASCII, no separators, capped."""
    return _UNSAFE.sub("_", text[: 4 * _NAME_CHARACTERS_MAX])[:_NAME_CHARACTERS_MAX] or "unnamed"


def leading_finding(report: ScanReport) -> Finding | None:
    """The finding that stands for the report: one that explains its verdict, the most severe."""
    if not report.findings:
        return None
    return max(report.findings, key=lambda finding: (_explains(finding, report.verdict), finding.severity))


def _explains(finding: Finding, verdict: Verdict) -> bool:
    kind = finding.kind
    match verdict:
        case Verdict.MALICIOUS:
            return kind is FindingKind.MALWARE
        case Verdict.FORBIDDEN:
            return kind is FindingKind.FORBIDDEN
        case Verdict.UNSCANNABLE:
            return kind in UNSCANNABLE_KINDS and finding.severity > Severity.INFO
        case Verdict.SUSPICIOUS:
            return kind in {FindingKind.SUSPICIOUS, FindingKind.TYPE_MISMATCH, FindingKind.MALWARE}
        case Verdict.ERROR:
            return kind in {FindingKind.TIMEOUT, FindingKind.FAILED, FindingKind.OVERLOAD}
        case Verdict.CLEAN | Verdict.NOT_SCANNED:
            return False


@lru_cache(maxsize=64)
def _plain_fields(verdict: Verdict, action: Action, rule: str) -> bytes:
    if action is Action.ALLOW:
        return f"X-Response-Info: {verdict}\r\n".encode("ascii")
    outcome = result_of(ScanReport(verdict), Decision(action, rule))
    text = f"X-Response-Info: {verdict}; action={action}; rule={header_text(rule)}; outcome={outcome}\r\n"
    return text.encode("ascii")


def verdict_fields(report: ScanReport, decision: Decision, profile: Profile) -> bytes:
    """The ICAP header lines that say what was found and what was done; for a block also what other products send."""
    finding = leading_finding(report)
    if finding is None:
        return _plain_fields(report.verdict, decision.action, decision.rule)
    name = header_text(finding.name)
    lines = [
        f"X-Response-Info: {report.verdict}; finding={name}; kind={finding.kind}; action={decision.action}; "
        f"rule={header_text(decision.rule)}; outcome={result_of(report, decision)}"
    ]
    if decision.action is Action.BLOCK:
        lines += _block_lines(report, finding, name, profile)
    elif profile.notes_unjudged and report.verdict in _UNJUDGED:
        lines.append(_unjudged_line(name))
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def _unjudged_line(name: str) -> str:
    return f"X-Infection-Found: Type=2; Resolution=2; Threat={name};"


def _block_lines(report: ScanReport, finding: Finding, name: str, profile: Profile) -> list[str]:
    """X-Infection-Found types: 0 an infection, 2 what could not be judged, to Rspamd an error and not a hit.

    X-Violations-Found is folded by its definition, and g3proxy refuses a reply with a folded header.
    """
    if finding.kind in _INFECTIONS or report.verdict in {Verdict.MALICIOUS, Verdict.FORBIDDEN}:
        lines = [
            f"X-Infection-Found: Type=0; Resolution=2; Threat={name};",
            f"X-Virus-ID: {name}",
            f"X-Virus-Name: {name}",
        ]
        if profile.reads_folds:
            member = header_text("/".join(finding.trail)) if finding.trail else "-"
            lines.append(f"X-Violations-Found: 1\r\n\t{member}\r\n\t{name}\r\n\t0\r\n\t2")
        return lines
    return [_unjudged_line(name)] if report.verdict in _UNJUDGED else []


def block_reply(
    istag: bytes,
    fields: bytes,
    page: Drawn,
    *,
    has_http_body: bool = True,
    has_override: bool = False,
    close: bool = False,
) -> Reply:
    """ICAP 200 with an HTTP 403 page; `has_http_body` is False in answer to a HEAD request.

    A page that `has_override` has an origin of its own, so that no script of the site whose address it stands at can
    read the link, and lies in no frame, so that nobody is led to click it unseen.
    """
    alone = b"; frame-ancestors 'none'; sandbox allow-top-navigation allow-popups" if has_override else b""
    language = b"Content-Language: %b\r\n" % page.language.encode("ascii") if page.language else b""
    head = (
        b"HTTP/1.1 403 Forbidden\r\n"
        b"Date: %b\r\n"
        b"Content-Type: %b\r\n"
        b"Content-Length: %d\r\n"
        b"%b"
        b"Vary: Accept, Accept-Language\r\n"
        b"Cache-Control: no-store\r\n"
        b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'none'%b\r\n"
        b"Referrer-Policy: no-referrer\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Via: ICAP/1.0 icapd (%b)\r\n\r\n"
    ) % (_date(), page.media_type.encode("ascii"), len(page.body), language, alone, PRODUCT.encode("ascii"))
    return Reply(200, istag, fields, head, body=page.body if has_http_body else None, close=close)


def error_reply(istag: bytes, fields: bytes, code: str, *, close: bool = False) -> Reply:
    """ICAP 500 for a client that takes every page for an infection."""
    return Reply(500, istag, fields + f"X-Error-Code: {code}\r\n".encode("ascii"), close=close)


def redirect_reply(istag: bytes, fields: bytes, status: int, location: bytes, *, close: bool = False) -> Reply:
    """ICAP 200 with an HTTP redirect and no body."""
    head = (
        b"HTTP/1.1 %d %b\r\n"
        b"Date: %b\r\n"
        b"Location: %b\r\n"
        b"Content-Length: 0\r\n"
        b"Cache-Control: no-store\r\n"
        b"Via: ICAP/1.0 icapd (%b)\r\n\r\n"
    ) % (status, _REDIRECTS[status], _date(), location, PRODUCT.encode("ascii"))
    return Reply(200, istag, fields, head, close=close)


def _date() -> bytes:
    """Of a response that begins here: who makes one says when (RFC 9110 §6.6.1)."""
    return formatdate(usegmt=True).encode("ascii")


def echo_reply(
    head: RequestHead,
    istag: bytes,
    fields: bytes,
    body: bytes | Stream | None,
    trailers: bytes,
    edits: HeaderEdits | None = None,
) -> Reply:
    """The client's own message back, its head edited where a rule says so; 418 where it brought no part of one.

    Spec: RFC 3507 §4.8.1 and §4.9.1 with errata e4 and e5.
    """
    is_request = head.method == "REQMOD"
    http_head = head.http_request if is_request else head.http_response
    if body is None and not http_head:
        return Reply(418, istag, fields)
    return Reply(
        200,
        istag,
        fields,
        http_head if edits is None else edited(http_head, edits),
        http_is_request=is_request,
        body=body,
        trailers=trailers,
    )


def options_fields(methods: tuple[str, ...], preview_bytes: int | None, ttl_s: int, max_connections: int) -> bytes:
    """The header lines of an OPTIONS answer (RFC 3507 §4.10.2).

    `Allow` has numbers alone, as g3proxy refuses words there. No Date: a client takes it as the answer's age, and a
    clock that is off would make us stale. Transfer-* go with Preview, as Squid previews nothing without.
    """
    lines = [
        f"Methods: {', '.join(methods)}",
        f"Service: {PRODUCT}",
        "Allow: 204",
        f"Options-TTL: {ttl_s}",
        f"Max-Connections: {max_connections}",
        "X-Include: X-Client-IP, X-Client-Username, X-Authenticated-User, X-Authenticated-Groups",
    ]
    if preview_bytes is not None:
        lines += [f"Preview: {preview_bytes}", "Transfer-Preview: *"]
    return ("\r\n".join(lines) + "\r\n").encode("ascii")
