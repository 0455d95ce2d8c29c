"""One HTTP client: bytes from the transport to h11, events to the exchange, answers back. Over TCP and TLS alike.

Owns the connection's phase and its clock. No more than `limits.pipelined_bytes` is read while an answer is awaited,
and no request begins before the client has taken the answers to those before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import h11
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from icapd.net.http_access import Tokens
from icapd.net.http_answers import JSON, PROBLEM_JSON, problem
from icapd.net.http_exchange import Exchange
from icapd.net.http_openapi import description
from icapd.net.http_request import Description, Refusal, check_framing, read_request
from icapd.net.link import Phase
from icapd.observe.log import EventName

if TYPE_CHECKING:
    from icapd.net.gateway import Gateway

_PEER_TEXT_MAX: Final = 200
_CONTINUE: Final = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")


@implementer(IHalfCloseableProtocol, IPushProducer)
class HttpProtocol(Protocol):
    """State: `phase` with its `deadline`; `_exchange` from a request's head to its answer; `_is_full` while the
    client does not take what we have written; `_waiting_bytes`, what came since the request was whole."""

    transport: Any

    def __init__(
        self,
        gateway: Gateway,
        peer: str,
        tokens: Callable[[], Tokens],
        is_tls: bool,
        on_lost: Callable[[HttpProtocol], None],
    ) -> None:
        self._gateway = gateway
        self._tokens = tokens
        self._is_tls = is_tls
        self._on_lost = on_lost
        self.peer = peer
        self.phase = Phase.HEAD
        self.deadline = gateway.now() + gateway.phase_s[Phase.HEAD]
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=gateway.http_head_bytes)
        self._exchange: Exchange | None = None
        self._body_deadline = 0.0
        self._has_begun = False
        self._is_advancing = False
        self._is_full = False
        self._is_paused = False
        self._is_draining = False
        self._is_closing = False
        self._has_eof = False
        self._is_head_request = False
        self._waiting_bytes = 0
        self._lingered_bytes = 0

    # From the transport

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self.phase is Phase.LINGERING:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > self._gateway.discard_bytes:
                self.transport.abortConnection()
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._has_begun = True
        if self._http.their_state is not h11.SEND_BODY and self._is_answering:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > self._gateway.pipelined_bytes:
                self._pause()
        self._http.receive_data(data)
        self._advance()

    def readConnectionLost(self) -> None:
        """The client has half-closed; it still gets its whole answer."""
        if self.phase is Phase.LINGERING:
            self._lose()
            return
        self._has_eof = True
        self._http.receive_data(b"")
        self._advance()

    def writeConnectionLost(self) -> None:
        """All is written; from now on we wait for the client to close its own side."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._on_lost(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._gateway.counters.add("icapd_abandoned_total")
            exchange.on_broken(0, "client gone")

    def pauseProducing(self) -> None:
        self._is_full = True

    def resumeProducing(self) -> None:
        self._is_full = False
        if self.phase is Phase.ANSWERING:
            self._enter(Phase.IDLE)
            self._advance()

    def stopProducing(self) -> None:
        """The connection is lost, which `connectionLost` hears too."""

    @property
    def _is_answering(self) -> bool:
        """Whether what comes must wait: for an answer to be made, or for the client to take it."""
        return self._exchange is not None or self.phase is Phase.ANSWERING

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def _resume(self) -> None:
        self._waiting_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()

    # From h11 to the exchange

    def _advance(self) -> None:
        """Takes events until h11 waits. Not re-entered: an answer given meanwhile is seen by the loop."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while self.phase is not Phase.LINGERING and self._step():
                pass
        except h11.RemoteProtocolError as error:
            self._on_protocol_error(error)
        except Exception:  # the border: an error of ours ends this connection, not the front
            self._gateway.internal_error(Failure())
            self.break_off()
        finally:
            self._is_advancing = False

    def _step(self) -> bool:
        """One event. Returns: whether there may be another one. Raises: h11.RemoteProtocolError."""
        http = self._http
        if self._exchange is None and http.our_state is h11.DONE and http.their_state is h11.DONE:
            if self._is_full:
                self._enter(Phase.ANSWERING)
                return False
            http.start_next_cycle()
            self._is_head_request = False
            self._enter(Phase.IDLE)
            self._resume()
        event = http.next_event()
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.Data) and self._exchange is not None:
            now = self._gateway.now()
            self.deadline = min(now + self._gateway.phase_s[Phase.BODY], self._body_deadline)
            self._exchange.on_data(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and self._exchange is not None:
            self._exchange.on_end()
        elif isinstance(event, h11.ConnectionClosed):
            if self._exchange is None:
                self._lose()
            return False
        elif event is h11.NEED_DATA or event is h11.PAUSED:
            self._note_begun()
            return False
        return True

    def _note_begun(self) -> None:
        """A part of a next head is here already: its clock runs."""
        if self.phase is Phase.IDLE and self._http.trailing_data[0]:
            self._enter(Phase.HEAD)

    def _begin(self, request: h11.Request) -> None:
        gateway = self._gateway = self._gateway.newest()
        now = gateway.now()
        self.phase = Phase.BODY
        self._body_deadline = now + gateway.body_total_s
        self.deadline = min(now + gateway.phase_s[Phase.BODY], self._body_deadline)
        self._is_head_request = request.method == b"HEAD"
        check_framing(request)
        wish = read_request(request, self._tokens(), gateway.http_head_bytes)
        if isinstance(wish, Refusal):
            self.refuse(wish)
        elif isinstance(wish, Description):
            needs_token, files_max = self._tokens().are_needed, gateway.http_files_max
            self.answer(200, JSON, description(needs_token=needs_token, files_max=files_max))
        else:
            self._exchange = exchange = Exchange(gateway, self, wish, self.peer, now)
            exchange.begin()
            if self._exchange is exchange and wish.length_bytes != 0 and self._http.they_are_waiting_for_100_continue:
                self._write(_CONTINUE)

    def _on_protocol_error(self, error: h11.RemoteProtocolError) -> None:
        """The client broke HTTP, or closed its side in the middle of a body."""
        status = error.error_status_hint if 400 <= error.error_status_hint < 500 else 400
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_broken(status, str(error))
        self._count_refusal(status, str(error))
        self._end_with(status, str(error))

    def _end_with(self, status: int, detail: str) -> None:
        """The last answer of a connection whose request cannot be read."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(status, PROBLEM_JSON, problem(status, detail), (), is_last=True)
        self._linger()

    # For the exchange

    def judging(self) -> None:
        """The body is whole."""
        self._enter(Phase.JUDGING)

    def refuse(self, refusal: Refusal) -> None:
        """An answer without a verdict."""
        self._count_refusal(refusal.status, refusal.detail)
        self.answer(refusal.status, PROBLEM_JSON, problem(refusal.status, refusal.detail), refusal.fields)

    def answer(self, status: int, media_type: str, body: bytes, fields: tuple[tuple[str, str], ...] = ()) -> None:
        """The whole answer. Where the request is not whole, the connection ends after it."""
        self._exchange = None
        self._send(status, media_type, body, fields)
        if self._http.our_state is not h11.DONE:
            self._linger()
        self._advance()

    def _send(
        self,
        status: int,
        media_type: str,
        body: bytes,
        fields: tuple[tuple[str, str], ...],
        *,
        is_last: bool = False,
    ) -> None:
        http = self._http
        headers = [
            ("Date", formatdate(time.time(), usegmt=True)),
            ("Content-Type", media_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *fields,
        ]
        if is_last or self._is_draining or (http.their_state is not h11.DONE and not self._ends_without_body()):
            headers.append(("Connection", "close"))
        self._write(
            h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase),
            *([h11.Data(data=body)] if body and not self._is_head_request else []),
            h11.EndOfMessage(),
        )

    def _ends_without_body(self) -> bool:
        """Takes the end of a request whose head was answered, where nothing is to come before it."""
        return self._http.their_state is h11.SEND_BODY and isinstance(self._http.next_event(), h11.EndOfMessage)

    def _write(self, *events: h11.Event) -> None:
        if self.transport.connected:
            self.transport.write(b"".join(filter(None, map(self._http.send, events))))

    def _count_refusal(self, status: int, reason: str) -> None:
        self._gateway.counters.add("icapd_protocol_errors_total", (str(status),))
        self._gateway.log.event(
            EventName.PEER_PROTOCOL_ERROR, peer=self.peer, status=status, reason=reason[:_PEER_TEXT_MAX]
        )

    # Time and the end

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.deadline = self._gateway.now() + self._gateway.phase_s[phase]

    def timed_out(self) -> None:
        """The phase's time is over. Called by the front's sweep."""
        phase, exchange = self.phase, self._exchange
        self._gateway.counters.add("icapd_timeouts_total", (phase.name.lower(),))
        if phase is Phase.BODY and exchange is not None:
            exchange.on_late_body()
        elif phase is Phase.JUDGING and exchange is not None:
            exchange.on_deadline()
            if self._exchange is exchange:  # it has no answer even so
                self.break_off()
        elif phase is Phase.HEAD and self._has_begun:
            self._count_refusal(408, "head timed out")
            self._end_with(408, "the head came too slowly")
        elif phase in (Phase.IDLE, Phase.HEAD):
            self._lose()
        elif phase is Phase.LINGERING and not (self._is_tls or self._is_full or self._is_closing):
            self._is_closing = True
            self._enter(phase)
            self.transport.loseConnection()  # no reset: the kernel may still hold a part of the answer
        else:
            self.transport.abortConnection()

    def may_be_judged_before(self, gateway: Gateway) -> bool:
        """Whether a body may be judged here by what was in force before this gateway."""
        return self._exchange is not None and self._gateway is not gateway

    def close_when_idle(self) -> None:
        """The front drains: an idle connection ends now, a busy one with its answer."""
        self._is_draining = True
        if self._exchange is None and self.phase in (Phase.IDLE, Phase.HEAD) and not self._http.trailing_data[0]:
            self._lose()

    def break_off(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_broken(0, "cut off")
        self.transport.abortConnection()

    def _lose(self) -> None:
        """Ends the connection; who takes neither what is still unwritten nor the end of TLS is cut off later."""
        self._is_closing = True
        self._enter(Phase.LINGERING)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _linger(self) -> None:
        """Shuts our side and reads on for a while: closing at once may destroy the answer on its way (RST)."""
        if self.phase is Phase.LINGERING:
            return
        self._enter(Phase.LINGERING)
        self._resume()
        self.transport.unregisterProducer()
        if self._is_tls or self._has_eof:  # over TLS, that is our close_notify, and theirs is waited for
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
