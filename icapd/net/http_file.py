"""One file of an HTTP request, from its first byte to its access line: spooled, judged and decided as any body is.

It knows nothing of HTTP's framing, nor how many files came with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from icapd.config.schema import SCAN_PATH
from icapd.errors import BodyTooLarge, SpoolError
from icapd.icap.http import HttpHead, HttpRequest
from icapd.net.accounts import Naming, read_groups, read_user
from icapd.net.http_answers import FileAnswer, file_answer
from icapd.net.link import LOCAL
from icapd.observe.access import AccessLine
from icapd.policy.facts import Decision, Facts
from icapd.policy.outcomes import result_of
from icapd.scan.model import CacheKey, FindingKind, Identity, ScanReport, Verdict
from icapd.scan.pipeline import Examined, Source, in_context, refusal

if TYPE_CHECKING:
    from icapd.net.gateway import Gateway
    from icapd.scan.spool import Body

_METHOD = "POST"
_EMPTY = ScanReport(Verdict.CLEAN, identity=Identity("application/x-empty", "empty"))
_TEXT_MAX = 256


class Sender:
    """Who asks: the peer, and whom it says it asks for, in the headers that ICAP gateways use."""

    __slots__ = ("client", "groups", "peer", "user")

    def __init__(self, peer: str, values: Mapping[bytes, bytes], naming: Naming) -> None:
        self.peer = peer
        self.client = values.get(b"x-client-ip", b"")[:_TEXT_MAX].decode("utf-8", "backslashreplace") or peer
        self.user = read_user(values, naming)
        self.groups = read_groups(values, naming.is_base64)


class FileScan:
    """State: `_body` until it is recorded; `report` and `decision` once policy has spoken; `_judging` in between."""

    def __init__(
        self,
        gateway: Gateway,
        sender: Sender,
        head: HttpHead,
        name: str,
        length_bytes: int | None,
        started: float,
        on_decided: Callable[[], None],
    ) -> None:
        service = gateway.services.http
        if service is None:
            raise ValueError("no HTTP listener is configured")
        self._gateway = gateway
        self._service = service
        self._sender = sender
        self._head = head
        self._name = name
        self._length_bytes = length_bytes
        self._started = started
        self._on_decided = on_decided
        self._body: Body | None = gateway.spool.open(service.max_body_bytes)
        self._body_bytes = 0
        self._sha256 = ""
        self._source = Source.NONE
        self._judging: Deferred[Examined] | None = None
        self._judged_at = 0.0
        self._decided_at = 0.0
        self.identifier = gateway.new_identifier()
        self.report: ScanReport | None = None
        self.decision: Decision | None = None
        self._facts = Facts(
            method=_METHOD,
            service=SCAN_PATH,
            client=None if sender.client == LOCAL else sender.client,
            user=sender.user or None,
            http_method=_METHOD,
            media_type=head.media_type or None,
            media_types=head.media_types,
            extension=_extension(name) or None,
            size_bytes=length_bytes,
            groups=sender.groups,
            week_minute=gateway.week_minute,
        )

    @property
    def is_decided(self) -> bool:
        return self.decision is not None

    # The body

    def check_length(self) -> None:
        """What is announced to be too large need not come first."""
        if self._length_bytes is not None and self._length_bytes > self._service.max_body_bytes:
            self._refuse(BodyTooLarge("announced"))

    def feed(self, data: bytes) -> None:
        """A piece of the body; once all is decided, it is dropped."""
        self._body_bytes += len(data)
        if self.is_decided or self._body is None:
            return
        try:
            self._body.append(data)
        except SpoolError as error:
            self._refuse(error)

    def finish(self) -> None:
        """The body is whole."""
        body = self._body
        if self.is_decided or body is None:
            return
        self._sha256 = body.sha256().hex()
        if body.size_bytes == 0:
            self._conclude(_EMPTY)
            return
        self._gateway = self._gateway.newest()
        self._service = self._gateway.services.http or self._service
        judging = self._service.judging
        key = CacheKey(body.sha256(), body.size_bytes, judging.ruleset, self._head.content_coding)
        self._judged_at = self._gateway.now()
        found = self._gateway.pipeline.recall(key)
        if found is not None:
            report, self._source = found
            self._conclude(report)
            return
        self._judging = judgement = self._gateway.pipeline.examine(key, body, judging, self._sender.client)
        judgement.addCallback(self._on_examined)
        judgement.addErrback(self._on_failure)

    def give_up(self, reason: str) -> None:
        """Time is over: `body-timed-out` while the body comes, `scan-timed-out` while it is judged."""
        if not self.is_decided:
            self._cancel()
            self._conclude(refusal(Verdict.ERROR, FindingKind.TIMEOUT, reason, self._known_bytes))

    @property
    def _known_bytes(self) -> int:
        return max(self._body_bytes, self._length_bytes or 0)

    def _refuse(self, error: SpoolError) -> None:
        """The body cannot be kept, so it cannot be judged."""
        if isinstance(error, BodyTooLarge):
            size_bytes = max(self._service.max_body_bytes + 1, self._known_bytes)
            report = refusal(Verdict.UNSCANNABLE, FindingKind.LIMIT, "max_body_bytes", size_bytes)
        else:
            report = refusal(Verdict.ERROR, FindingKind.OVERLOAD, "spool-full", self._known_bytes)
        self._gateway.spool_refused(self.identifier, report, error)
        self._conclude(report)

    # The verdict

    def _on_examined(self, examined: Examined) -> None:
        self._judging = None
        if not self.is_decided:
            self._source = examined.source
            self._conclude(examined.report)

    def _on_failure(self, failure: Failure) -> None:
        """An error of ours is what policy says of failures."""
        self._judging = None
        if failure.check(CancelledError):
            return
        self._gateway.internal_error(failure)
        if self.is_decided:
            return
        try:
            self._conclude(refusal(Verdict.ERROR, FindingKind.FAILED, "internal-error", self._body_bytes))
        except Exception:  # the border: the connection's clock ends what has no answer
            self._gateway.internal_error(Failure())

    def _conclude(self, report: ScanReport) -> None:
        if report.size_bytes:
            report = in_context(report, self._facts.media_types, self._facts.extension or "")
        self._facts.report = self.report = report
        self.decision = self._service.policy.decide(self._facts)
        self._decided_at = self._gateway.now()
        self._free()
        self._on_decided()

    def answer(self) -> FileAnswer:
        """What the client is told. Only once it is decided."""
        if self.report is None or self.decision is None:
            raise ValueError("not decided yet")
        return file_answer(
            self.report,
            self.decision,
            name=self._name,
            sha256=self._sha256 or None,
            size_bytes=self._body_bytes if self._sha256 else self.report.size_bytes,
            cache=self._source,
            elapsed_s=self._decided_at - self._started,
            transaction=self.identifier,
        )

    # The end

    def _cancel(self) -> None:
        judging, self._judging = self._judging, None
        if judging is not None:
            judging.cancel()

    def _free(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.release()

    def record(self, status: int, error: str = "") -> None:
        """Frees what is held, then counts and logs. Once, with the status of the whole answer."""
        self._cancel()
        self._free()
        gateway, sender, report, decision = self._gateway, self._sender, self.report, self.decision
        now = gateway.now()
        line = AccessLine(
            time=self._started + gateway.wall_offset,
            id=self.identifier,
            peer=sender.peer,
            client=sender.client,
            user=sender.user,
            service=SCAN_PATH,
            method=_METHOD,
            status=status,
            http_method="",
            url="",
            http_status=0,
            media_type=self._head.media_type,
            real_type="" if report is None else report.identity.media_type,
            body_bytes=self._body_bytes,
            sha256=self._sha256,
            verdict="" if report is None else report.verdict,
            action="" if decision is None else decision.action,
            rule="" if decision is None else decision.rule,
            findings=[] if report is None else [finding.name for finding in report.findings],
            cache=self._source,
            preview=None,
            dripped_bytes=0,
            scan_ms=_ms((self._decided_at or now) - self._judged_at) if self._judged_at else 0.0,
            total_ms=_ms(now - self._started),
            error=error,
            outcome="" if report is None or decision is None else result_of(report, decision),
            name=self._name[:_TEXT_MAX],
        )
        gateway.record(line, report)


def _ms(seconds: float) -> float:
    return int(seconds * 1_000_000) / 1000


def _extension(name: str) -> str:
    """As a receiver will read it, whatever kind of path the client has put before it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return HttpRequest(path="/" + quote(last, errors="replace")).extension
