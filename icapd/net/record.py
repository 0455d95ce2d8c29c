"""What a request says of itself, read once: for policy as `Facts`, for the operator as an access line."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from icapd.icap import RequestHead
from icapd.icap.head import HeaderLines
from icapd.icap.http import HttpHead, HttpRequest, read_request, read_status, request_target
from icapd.net.accounts import PLAIN, Naming, read_groups, read_user
from icapd.net.link import LOCAL
from icapd.observe.access import AccessLine
from icapd.policy.facts import Decision, Facts
from icapd.policy.outcomes import result_of
from icapd.scan.engine_api import UrlEngine
from icapd.scan.merge import with_listed
from icapd.scan.mismatch import partial_content
from icapd.scan.model import Finding, ScanReport, Verdict
from icapd.scan.pipeline import in_context

NOT_SCANNED = ScanReport(Verdict.NOT_SCANNED)
_TEXT_MAX = 256


class Claims:
    """What the heads of one request claim. Read lazily: an echo needs little of it.

    `http` is the HTTP request, `inner` the head of the message whose body travels.
    """

    __slots__ = (
        "_client",
        "_facts",
        "_head",
        "_http",
        "_listed",
        "_naming",
        "_peer",
        "_service",
        "_url",
        "_week_minute",
        "inner",
        "is_response",
    )

    def __init__(
        self, head: RequestHead, service: str, peer: str, naming: Naming = PLAIN, week_minute: int | None = None
    ) -> None:
        self._head = head
        self._naming = naming
        self._service = service
        self._week_minute = week_minute
        self._peer = peer
        self._client = ""
        self._url = ""
        self._facts: Facts | None = None
        self._http: HttpRequest | None = None
        self._listed: tuple[Finding, ...] = ()
        self.is_response = head.method == "RESPMOD"
        self.inner = HttpHead(head.http_response if self.is_response else head.http_request)

    @property
    def http(self) -> HttpRequest:
        """The HTTP request's line and host."""
        if self._http is None:
            self._http = read_request(self._head.http_request)
        return self._http

    @property
    def request(self) -> bytes:
        """The HTTP request's head as it came."""
        return self._head.http_request

    @property
    def wishes(self) -> tuple[bytes, bytes]:
        """The request's Accept and Accept-Language."""
        lines = HeaderLines(self._head.http_request)
        return lines.joined(b"accept") or b"", lines.joined(b"accept-language") or b""

    @property
    def client(self) -> str:
        """Whom the gateway serves; the gateway itself when it does not say."""
        if not self._client:
            value = self._head.values.get(b"x-client-ip")
            self._client = _text(value) if value else self._peer
        return self._client

    @property
    def url(self) -> str:
        """Of the HTTP request, as it may be logged."""
        if not self._url:
            self._url = self.http.url
        return self._url

    @property
    def user(self) -> str:
        """As the gateway names them."""
        return read_user(self._head.values, self._naming)

    @property
    def person(self) -> str:
        """The one user, or else the one address, that the gateway says it serves; empty when it says neither."""
        if self.user:
            return f"user {self.user}"
        return f"client {self.client}" if self._head.values.get(b"x-client-ip") else ""

    @property
    def facts(self) -> Facts:
        """The transaction as policy sees it; the same object each time, as its report is set later."""
        if self._facts is None:
            http, inner, client = self.http, self.inner, self.client
            self._facts = Facts(
                method=self._head.method,
                service=self._service,
                client=None if client == LOCAL else client,
                user=self.user or None,
                host=http.host or None,
                http_method=http.method or None,
                media_type=inner.media_type or None,
                media_types=inner.media_types,
                extension=http.extension or None,
                size_bytes=inner.content_length,
                groups=read_groups(self._head.values, self._naming.is_base64),
                url=self.url or None,
                week_minute=self._week_minute,
            )
        return self._facts

    def look_up(self, engines: Iterable[UrlEngine]) -> ScanReport | None:
        """What lists say of the URL, as a report on a body that nobody has looked at; None when they say nothing."""
        http = self.http
        if http.host:
            target = request_target(self._head.http_request)
            for engine in engines:
                self._listed += engine.look_up(http.host, http.port, target)
        return self.with_listed(NOT_SCANNED) if self._listed else None

    def with_listed(self, report: ScanReport) -> ScanReport:
        """The report with what lists say of the URL."""
        return with_listed(report, self._listed) if self._listed else report

    def in_context(self, report: ScanReport) -> ScanReport:
        """The report on the body with what this message says of it: another type than it has, only a part of it, and
        from where it is."""
        report = self.with_listed(report)
        if not report.size_bytes:
            return report
        declared = self.facts.media_types
        if not self.is_response:
            return in_context(report, declared, "")
        note = partial_content(
            read_status(self._head.http_response), self.inner.content_range, declared, report.size_bytes
        )
        return in_context(report, declared, self.facts.extension or "", note)

    def access_line(
        self,
        *,
        started: float,
        identifier: str,
        status: int,
        body_bytes: int,
        sha256: str,
        report: ScanReport | None,
        decision: Decision | None,
        source: str,
        dripped_bytes: int,
        scan_s: float,
        total_s: float,
        error: str,
    ) -> AccessLine:
        """The line of a finished transaction. Times in seconds; `started` on the wall clock."""
        head, http = self._head, self.http
        return AccessLine(
            started,
            identifier,
            self._peer,
            self.client,
            self.user,
            self._service,
            head.method,
            status,
            http.method,
            self.url,
            read_status(head.http_response),
            self.inner.media_type if self._facts is None else self._facts.media_type or "",
            "" if report is None else report.identity.media_type,
            body_bytes,
            sha256,
            "" if report is None else report.verdict,
            "" if decision is None else decision.action,
            "" if decision is None else decision.rule,
            [finding.name for finding in report.findings] if report is not None and report.findings else [],
            source,
            head.preview_bytes,
            dripped_bytes,
            int(scan_s * 1_000_000) / 1000,
            int(total_s * 1_000_000) / 1000,
            error,
            "" if report is None or decision is None else result_of(report, decision),
            samples=UNSET if report is None or not report.findings else _samples(report),
        )


def _samples(report: ScanReport) -> list[str] | UnsetType:
    return [finding.sample for finding in report.findings if finding.sample] or UNSET


def _text(value: bytes) -> str:
    return value[:_TEXT_MAX].decode("utf-8", "backslashreplace")
