"""One request from its head to its access line. New for each request; nothing outlives it.

It takes the codec's events from its connection, spools the body, asks policy early, has the body judged, and gives
the answer that policy names, whatever happened on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from icapd.errors import BodyTooLarge, SpoolError
from icapd.icap import CONTINUE, STREAM, Reply, RequestHead
from icapd.net.answers import PENDING_FIELDS, echo_reply, verdict_fields
from icapd.net.delivery import Early
from icapd.net.echo import Echo
from icapd.net.edits import for_the_whole
from icapd.net.link import Link, Phase
from icapd.net.record import NOT_SCANNED, Claims
from icapd.net.replies import Refusal
from icapd.net.services import unscanned
from icapd.net.stage import Stage
from icapd.policy.facts import Decision, HeaderEdits
from icapd.policy.modes import Mode
from icapd.scan.model import CacheKey, FindingKind, Identity, ScanReport, Verdict
from icapd.scan.pipeline import Examined, Source, refusal

if TYPE_CHECKING:
    from icapd.icap.events import Stream
    from icapd.net.gateway import Gateway
    from icapd.net.services import ServiceEntry
    from icapd.scan.spool import Body

_NO_BODY = ScanReport(Verdict.CLEAN, identity=Identity("application/x-empty", "empty"))

_SPOOLING, _DROPPING, _PASSING, _JUDGING, _ANSWERING, _DONE = Stage


class Transaction:
    """State: `_stage`; `_decision` and `_report` once policy has spoken; `_echo` while a body streams back; `_closes`
    when a late body would be answered before its end. What most requests never set has its default in the class.
    """

    _stage = _SPOOLING
    _body: Body | None = None
    _body_bytes = 0
    _decision: Decision | None = None
    _report: ScanReport | None = None
    _source = Source.NONE
    _echo: Echo | None = None
    _judging: Deferred[Examined] | None = None
    _judged_at = 0.0
    _early: Early | None = None
    _closes = False
    _status = 0
    _trailers = b""
    _error = ""

    def __init__(
        self, gateway: Gateway, link: Link, head: RequestHead, service: ServiceEntry, started: float
    ) -> None:
        self._gateway = gateway
        self._link = link
        self._head = head
        self._started = started
        self._claims = Claims(head, service.name, link.peer, service.naming, gateway.week_minute)
        self.identifier = gateway.new_identifier()
        self._service = gateway.pages.met_by(service, self._claims, self.identifier)

    # What the connection reports

    def begin(self) -> None:
        """The head is in: decides what can be decided now."""
        head, service = self._head, self._service
        decision: Decision | None
        listed = self._claims.look_up(service.url_engines) if service.url_engines else None
        if not service.scans or (service.delivery.may_skip and service.delivery.choose(self._claims) is Mode.SKIP):
            if listed is not None:
                self._claims.facts.report = self._report = listed
            constant = service.unscanned if listed is None else None
            decision = constant or unscanned(service.policy, self._claims.facts)
        else:
            facts, policy = self._claims.facts, service.policy
            decision = policy.early(facts, listed) or self._gateway.broken.decide(head, self._claims, policy)
            self._report = facts.report or listed
        if decision is None:
            if head.has_body:
                self._body = self._open_body()
            else:
                self._conclude(_NO_BODY)
            return
        self._decision = decision
        self._report = self._report or NOT_SCANNED
        if not head.has_body:
            self._answer()
        elif head.preview_bytes is not None:
            self._stage = _DROPPING
        elif decision.refuses:
            self._answer()
        else:
            self._let_pass()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(data)
        body = self._body
        if self._stage is not _SPOOLING or body is None:
            if self._stage is _PASSING and self._echo is not None:
                self._echo.feed(data)
            return
        unsaved = data
        try:
            body.append(data)
            unsaved = b""
            if body.size_bytes + self._link.codec.chunk_bytes_left > self._service.max_body_bytes:
                raise BodyTooLarge("max_body_bytes")
        except SpoolError as error:
            self._refuse(error, unsaved)
            return
        if self._body_bytes >= self._service.delivery.from_bytes and self._claims.is_response:
            if self._early is None:
                gateway, plan = self._gateway, self._service.delivery
                mode = plan.choose(self._claims)
                self._early = Early(plan, mode, gateway.reactor, gateway.counters, self._begin_echo)
            self._early.on_body(body)

    def on_preview_end(self) -> None:
        """The preview is in, and there is more."""
        if self._stage is _SPOOLING:
            self._link.send(CONTINUE)
        elif self._stage is _DROPPING:
            self._answer()

    def on_end(self, trailers: bytes) -> None:
        """The request is whole."""
        self._trailers = trailers
        self._closes = False
        if self._early is not None:
            self._early.on_whole()
        if self._stage is _SPOOLING:
            self._judge()
        elif self._stage is _DROPPING:
            self._answer()
        elif self._stage is _PASSING and self._echo is not None:
            self._echo.finish(trailers)

    def on_deadline(self) -> None:
        """The time for a report is over, whoever should have kept it."""
        if self._stage is _JUDGING:
            self._cancel()
            self._conclude(refusal(Verdict.ERROR, FindingKind.TIMEOUT, "scan-timed-out", self._body_bytes))

    def on_late_body(self, *, is_over: bool) -> None:
        """Nothing came for a while, or, when it `is_over`, the body takes too long as a whole.

        Mostly the client waits for a slow origin. A reply now is the last one: the rest may never come.
        """
        if self._stage is _SPOOLING:
            self._closes = True
            self._settle(refusal(Verdict.ERROR, FindingKind.TIMEOUT, "body-timed-out", self._announced_bytes))
        elif self._stage is _DROPPING:
            if is_over or (self._decision is not None and self._decision.refuses):
                self._closes = True
                self._answer()
        elif is_over:
            self._error = "body timed out"
            self._link.break_off()

    def on_broken(self, status: int, error: str) -> None:
        """The connection cannot go on: the client broke the protocol, fell silent or went away."""
        if self._stage is not _DONE:
            self._status = self._status or status
            self._error = error
            self.finish()

    # From the body to the answer

    def _judge(self) -> None:
        body = self._body
        if body is None or body.size_bytes == 0:
            self._conclude(_NO_BODY)
            return
        self._gateway, self._service = self._gateway.in_force(self._service, self._claims, self.identifier)
        judging = self._service.judging
        key = CacheKey(body.sha256(), body.size_bytes, judging.ruleset, self._claims.inner.content_coding)
        self._claims.facts.sha256 = key.sha256
        self._judged_at = self._gateway.now()
        found = self._gateway.pipeline.recall(key)
        if found is not None:
            report, self._source = found
            self._conclude(report)
            return
        self._stage = _JUDGING
        self._link.enter(Phase.JUDGING)
        self._judging = judgement = self._gateway.pipeline.examine(key, body, judging, self._claims.client)
        judgement.addCallbacks(self._on_examined, self._on_failure)

    def _on_examined(self, examined: Examined) -> None:
        self._judging = None
        if self._stage is not _JUDGING:
            return
        self._source = examined.source
        try:
            self._conclude(examined.report)
        except Exception:  # the border: no answer could be made of it
            self._on_failure(Failure())

    def _on_failure(self, failure: Failure) -> None:
        """An error of ours: the client gets what policy says of failures, or the end of the connection."""
        self._judging = None
        if self._stage is _DONE or failure.check(CancelledError):
            return
        self._gateway.internal_error(failure)
        if self._stage is _JUDGING:
            try:
                self._conclude(refusal(Verdict.ERROR, FindingKind.FAILED, "internal-error", self._body_bytes))
            except Exception:  # the border: what policy says cannot be had, or cannot be said
                self._gateway.internal_error(Failure())
            else:
                return
        self._link.break_off()

    def _conclude(self, report: ScanReport) -> None:
        """The facts are known: policy decides, and the answer goes out."""
        self._end_early()
        facts = self._claims.facts
        facts.report = self._report = self._claims.in_context(report)
        self._decision = self._service.policy.decide(facts)
        self._answer()

    def _refuse(self, error: SpoolError, unsaved: bytes) -> None:
        """The body cannot be kept, so it cannot be judged: policy says what happens to it."""
        if isinstance(error, BodyTooLarge):
            size_bytes = max(self._service.max_body_bytes + 1, self._body_bytes + self._link.codec.chunk_bytes_left)
            report = refusal(Verdict.UNSCANNABLE, FindingKind.LIMIT, "max_body_bytes", size_bytes)
        else:
            report = refusal(Verdict.ERROR, FindingKind.OVERLOAD, "spool-full", self._announced_bytes)
        self._gateway.spool_refused(self.identifier, report, error)
        self._settle(report, unsaved)

    @property
    def _announced_bytes(self) -> int:
        """How large the unfinished body is by all that is known: what came, its chunk's length, Content-Length."""
        came_bytes = self._body_bytes + self._link.codec.chunk_bytes_left
        return max(came_bytes, self._claims.inner.content_length or 0)

    def _settle(self, report: ScanReport, unsaved: bytes = b"") -> None:
        """The body is not whole and will not be judged: it is blocked now, or may pass."""
        self._end_early()
        self._claims.facts.report = self._report = self._claims.with_listed(report)
        self._decision = self._service.policy.decide(self._claims.facts)
        if self._decision.refuses:
            self._answer()
        else:
            self._let_pass(unsaved)

    def _let_pass(self, unsaved: bytes = b"") -> None:
        """The body may go unjudged: it is dropped where a 204 can stand for it, else it goes back as it comes."""
        body, self._body = self._body or self._open_body(), None
        codec, decision = self._link.codec, self._decision
        if codec.answers_preview and decision is not None and decision.edits is not None:
            # A 200 now would need the rest of the body, which only 100 Continue brings.
            self._decision, self._error = structs.replace(decision, edits=None), "headers not edited"
        if self._echo is None and codec.may_send_204 and self._edits is None:
            self._stage = _DROPPING
            body.release()
            return
        self._stage = _PASSING
        if self._echo is None:
            self._echo = self._echo_of(body, self._fields())
        body.release()
        self._echo.pass_on()
        self._echo.feed(unsaved)

    def _open_body(self) -> Body:
        return self._gateway.spool.open(self._service.max_body_bytes)

    # The answer

    def _echo_of(self, body: Body, fields: bytes) -> Echo:
        self._status = 200
        return Echo(self._link, self._echo_reply(fields, STREAM), body, self._open_body)

    def _fields(self) -> bytes:
        if self._report is None or self._decision is None:
            return PENDING_FIELDS
        return verdict_fields(self._report, self._decision, self._service.profile)

    def _echo_reply(self, fields: bytes, body: bytes | Stream | None) -> Reply:
        return echo_reply(self._head, self._service.istag, fields, body, self._trailers, self._edits)

    @property
    def _edits(self) -> HeaderEdits | None:
        return None if self._decision is None else self._decision.edits

    def _answer(self) -> None:
        decision, link = self._decision, self._link
        if decision is None:
            return
        if self._service.strips_range:
            self._decision = decision = for_the_whole(decision, self._head)
        self._stage = _ANSWERING
        if decision.refuses:
            self._refuse_with(decision)
            return
        if self._echo is not None:
            self._echo.finish(self._trailers)
            return
        fields = self._fields()
        if link.codec.may_send_204 and decision.edits is None:
            self._status = 204
            link.send(Reply(204, self._service.istag, fields, close=self._closes))
            link.answered()
            return
        body = self._body
        if body is not None and not body.is_in_memory:
            self._echo = self._echo_of(body, fields)
            self._echo.finish(self._trailers)
            return
        content = (b"" if body is None else body.content()) if self._head.has_body else None
        reply = self._echo_reply(fields, content)
        self._status = reply.status
        link.send(reply)
        link.answered()

    def _refuse_with(self, decision: Decision) -> None:
        gateway, link, report = self._gateway, self._link, self._report or NOT_SCANNED
        if self._echo is not None:
            gateway.transfer_broken(self.identifier, self._head, self._claims, report)
            self._error = "transfer broken"
            link.break_off()
            return
        service, fields = self._service, self._fields()
        refusal = Refusal(decision, report, self._claims, service, self.identifier, fields, self._closes)
        reply = gateway.pages.refuse(refusal)
        self._status = reply.status
        link.send(reply)
        link.answered()

    # Before the verdict

    def _begin_echo(self) -> Echo | None:
        """The answer begins with the head; not in a preview, which 100 Continue may still answer."""
        if self._echo is None and self._body is not None and not self._link.codec.answers_preview:
            self._echo = self._echo_of(self._body, PENDING_FIELDS)
        return self._echo

    def _end_early(self) -> None:
        if self._early is not None:
            self._early.end()

    # The end

    def _cancel(self) -> None:
        judging, self._judging = self._judging, None
        if judging is not None:
            judging.cancel()

    def finish(self) -> None:
        """Frees what the transaction holds, then counts and logs it. Never raises."""
        if self._stage is _DONE:
            return
        self._stage = _DONE
        self._gateway.shadow.look(self.identifier, self._claims, self._service.name, self._decision, self._body)
        try:
            self._let_go()
            self._record()
        except Exception:  # the border: one line is lost, nothing else
            self._gateway.internal_error(Failure())

    def _let_go(self) -> None:
        if self._body is not None:
            self._body.release()
        if self._echo is not None:
            self._echo.abandon()
        if self._early is not None:
            self._early.end()
        if self._judging is not None:
            self._cancel()

    def _record(self) -> None:
        now, body = self._gateway.now(), self._body
        line = self._claims.access_line(
            started=self._started + self._gateway.wall_offset,
            identifier=self.identifier,
            status=self._status,
            body_bytes=self._body_bytes,
            sha256=body.sha256().hex() if body is not None and self._body_bytes == body.size_bytes else "",
            report=self._report,
            decision=self._decision,
            source=self._source,
            dripped_bytes=0 if self._echo is None else self._echo.early_bytes,
            scan_s=now - self._judged_at if self._judged_at else 0.0,
            total_s=now - self._started,
            error=self._error,
        )
        self._gateway.record(line, self._report)
