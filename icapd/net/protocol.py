"""One client connection: bytes from the transport to the codec, events to the transaction, messages back.

Owns the connection's phase and its clock. Reading never stops because writing is blocked, but for three cases: later
requests past `limits.pipelined_bytes`, a body that passes through unspooled, and a client that has been closed to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from icapd.errors import PeerProtocolError
from icapd.icap import (
    PREVIEW_END,
    BodyData,
    Connection,
    EndOfMessage,
    Event,
    Message,
    PeerClosed,
    PreviewEnd,
    Reply,
    RequestHead,
    Wait,
)
from icapd.net.link import Phase, Producer, Rest
from icapd.net.transaction import Transaction
from icapd.observe.log import EventName

if TYPE_CHECKING:
    from icapd.net.gateway import Gateway

_PEER_TEXT_MAX = 200
_CYCLES_A_TURN = 16
"""Requests that came at once and are answered at once; others have their turn before the next of them."""


@implementer(IHalfCloseableProtocol)
class IcapProtocol(Protocol):
    """State: `phase` with its `deadline`; `_transaction` from a request's head to the end of its answer."""

    transport: Any

    def __init__(self, gateway: Gateway, peer: str, open_connections: set[IcapProtocol]) -> None:
        self._gateway = gateway
        self._open_connections = open_connections
        self.peer = peer
        self.codec = Connection(gateway.codec_limits)
        self.phase = Phase.HEAD
        self.deadline = gateway.now() + gateway.phase_s[Phase.HEAD]
        self._body_idle_s = gateway.phase_s[Phase.BODY]
        self._body_deadline = 0.0
        self._started = 0.0
        self._transaction: Transaction | None = None
        self._is_advancing = False
        self._reading_is_paused = False
        self._lingered_bytes = 0
        self._rest: Rest | None = None

    # From the transport

    def connectionMade(self) -> None:
        if self.transport.socket.family != 1:  # not for AF_UNIX
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self.phase is _LINGERING:
            self._linger_on(data)
            return
        self.codec.receive_data(data)
        self._advance()
        is_busy = self._transaction is not None or self._rest is not None
        if is_busy and self.codec.buffered_bytes > self._gateway.pipelined_bytes:
            self.pause_reading()

    def readConnectionLost(self) -> None:
        """The client has half-closed; it still gets its whole answer."""
        self.codec.receive_eof()
        if self.phase is _LINGERING:
            self.transport.loseConnection()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """All is written and our side is closed; from now on we wait for the client to close its own."""
        self.enter(_LINGERING)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open_connections.discard(self)
        self._abandon()

    def _abandon(self) -> None:
        """The client is gone, or will send no more of what it began."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._gateway.counters.add("icapd_abandoned_total")
            transaction.on_broken(0, "client gone")

    # From the codec to the transaction

    def _advance(self) -> None:
        """Takes events until the codec waits. Not re-entered: an answer given meanwhile is seen by the loop."""
        if self._is_advancing:
            return
        self._is_advancing = True
        codec = self.codec
        cycles = 0
        try:
            if self._transaction is not None:
                self._take_rest(self._transaction)
            while True:
                event = codec.next_event()
                if event is _NEED_DATA:
                    break
                if type(event) is RequestHead:
                    self._begin(event)
                elif event is not _PAUSED:
                    self._dispatch(event)
                if self._transaction is None and codec.cycle_is_over:
                    if self._awaits_reader():
                        break
                    self._next_cycle()
                    if not codec.buffered_bytes and not codec.has_eof:
                        return
                    cycles += 1
                    if cycles == _CYCLES_A_TURN:
                        self._await_turn()
                        break
                elif event is _PAUSED:
                    break
        except PeerProtocolError as error:
            self._refuse(error)
        except Exception:  # the border: an error of ours ends this connection, not the front
            self._gateway.internal_error(Failure())
            self.break_off()
        finally:
            self._is_advancing = False
        if codec.must_close:
            self._linger()
        elif self._transaction is None and self.phase is _IDLE and codec.buffered_bytes:
            self.enter(_HEAD)

    def _await_turn(self) -> None:
        """Goes on after all others; the client sends no more meanwhile, or what is buffered would grow."""
        if not self.codec.has_eof:
            self.pause_reading()
        self._gateway.reactor.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        if self.transport.connected and self.phase is not _LINGERING:
            if self._reading_is_paused:
                self.resume_reading()
            self._advance()

    def _dispatch(self, event: Event | Wait) -> None:
        transaction = self._transaction
        if type(event) is PeerClosed:
            self._abandon()
            self.transport.loseConnection()
        elif transaction is None:
            return
        elif type(event) is BodyData:
            self._extend_deadline()
            transaction.on_body(event.data)
        elif type(event) is PreviewEnd:
            transaction.on_preview_end()
        elif type(event) is EndOfMessage:
            transaction.on_end(event.trailers)

    def _extend_deadline(self) -> None:
        """A part of the body came."""
        deadline = self._gateway.now() + self._body_idle_s
        self.deadline = deadline if deadline < self._body_deadline else self._body_deadline

    def _begin(self, head: RequestHead) -> None:
        gateway = self._gateway
        if gateway.successor is not None:
            gateway = self._gateway = gateway.newest()
            self._body_idle_s = gateway.phase_s[_BODY]
        self._started = now = gateway.now()
        self.phase = _BODY
        self._body_deadline = now + gateway.body_total_s
        self.deadline = now + gateway.first_body_s
        service = gateway.services.find(head.path, self.peer)
        istag = gateway.services.istag
        if service is None:
            self._reply_alone(Reply(404, istag, close=head.has_body), head)
        elif head.method == "OPTIONS":
            draining = Reply(503, istag, close=True)
            self._reply_alone(draining if gateway.is_draining else service.options, head)
        elif head.method not in service.methods:
            self._reply_alone(Reply(405, istag, close=head.has_body), head)
        else:
            self._transaction = transaction = Transaction(gateway, self, head, service, now)
            transaction.begin()
            if self._transaction is transaction:  # not answered by its head alone
                self._take_rest(transaction)

    def _take_rest(self, transaction: Transaction) -> None:
        """Hands on what is left of the preview or of the body, if all of it is here."""
        if (rest := self.codec.take_rest()) is None:
            return
        data, end = rest
        transaction.on_body(data)
        if self._transaction is not transaction:
            return
        if end is PREVIEW_END:
            transaction.on_preview_end()
            if self._transaction is transaction:
                self._extend_deadline()
        else:
            transaction.on_end(b"")

    def _reply_alone(self, reply: Reply, head: RequestHead) -> None:
        """An answer that is no transaction: OPTIONS, and requests for what does not exist."""
        if reply.status != 200:
            self._note_error(reply.status, path=head.path[:_PEER_TEXT_MAX])
        self.send(reply)
        self.answered()

    @property
    def _has_unwritten(self) -> bool:
        """Whether a part of our answers is still here because the kernel has no room for it."""
        return bool(self.transport.dataBuffer or self.transport._tempDataBuffer)

    def _awaits_reader(self) -> bool:
        """Whether the next request must wait until the client has taken the last answer.

        Or else one that sends and never reads makes us keep all its answers.
        """
        if not self._has_unwritten:
            return False
        if self._rest is None and self.transport.connected:
            self.enter(Phase.ANSWERING)
            self._rest = Rest(self._on_read)
            self.produce(self._rest, is_push=False)
        return self._rest is not None

    def _on_read(self) -> None:
        if not self._has_unwritten:
            self._rest = None
            self.stop_producing()
            self._advance()

    def _next_cycle(self) -> None:
        self.codec.start_next_cycle()
        self.enter(_IDLE)
        if self._reading_is_paused:
            self.resume_reading()

    def _refuse(self, error: PeerProtocolError) -> None:
        """The client broke the protocol: the status that says so, then the end."""
        self._note_error(error.status_hint, reason=str(error))
        self._end_with(error.status_hint, str(error))

    def _note_error(self, status: int, **details: str) -> None:
        self._gateway.counters.add("icapd_protocol_errors_total", (str(status),))
        self._gateway.log.event(EventName.PEER_PROTOCOL_ERROR, peer=self.peer, status=status, **details)

    def _end_with(self, status: int, error: str) -> None:
        """Ends the connection, with an error reply where no answer has begun."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.on_broken(status, error)
        if self.codec.may_begin_reply:
            self.send(Reply(status, self._gateway.services.istag, close=True))
            self._linger()
        elif self.codec.must_close:  # the reply is whole, and must not be destroyed by a reset
            self._linger()
        elif self.phase is not _LINGERING:
            self.break_off()

    # For the transaction

    def send(self, message: Message, *more: Message) -> None:
        parts = self.codec.send(message)
        for message in more:
            parts += self.codec.send(message)
        self._write(parts)

    def _write(self, parts: list[bytes | memoryview]) -> None:
        """Writes at once what the socket takes: waiting for the reactor's next turn costs a third of the speed.

        Only where nothing is buffered before it, and no producer waits to be called when the buffer is empty.
        """
        transport = self.transport
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if not transport.connected:
            return
        if transport.producer is None and not transport.dataBuffer and not transport._tempDataBuffer:
            try:
                sent = transport.socket.send(data)
            except OSError:
                sent = 0  # would block; or broken, which the transport will find out for itself
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        transport.write(bytes(data))

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.deadline = self._gateway.now() + self._gateway.phase_s[phase]

    def produce(self, producer: Producer, is_push: bool) -> None:
        self.transport.registerProducer(producer, is_push)

    def stop_producing(self) -> None:
        self.transport.unregisterProducer()

    def pause_reading(self) -> None:
        self._reading_is_paused = True
        self.transport.stopReading()

    def resume_reading(self) -> None:
        self._reading_is_paused = False
        if self.transport.connected and not self.transport.disconnecting:
            self.transport.startReading()

    def answered(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.finish()
        if self.codec.must_close:
            self._linger()
            return
        if not self.codec.cycle_is_over:
            self.enter(_DISCARDING)
        if not self._is_advancing:
            self._advance()

    def break_off(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.finish()
        self.transport.abortConnection()

    # Time and the end

    def timed_out(self) -> None:
        """The phase's time is over. Called by the front's sweep."""
        phase = self.phase
        self._gateway.counters.add("icapd_timeouts_total", (phase.name.lower(),))
        if phase is _IDLE:
            self.transport.loseConnection()
        elif phase is Phase.JUDGING and self._transaction is not None:
            self._transaction.on_deadline()
        elif phase is _BODY and self._transaction is not None:
            self._body_timed_out(self._transaction)
        elif phase is _HEAD or phase is _BODY:
            self._end_with(408, f"{phase.name.lower()} timed out")
        elif phase is _DISCARDING:
            self._linger()
        elif phase is _LINGERING and not self._has_unwritten:
            self.transport.loseConnection()  # no reset: the kernel may still hold a part of the answer
        else:
            self.break_off()

    def _body_timed_out(self, transaction: Transaction) -> None:
        """Both clocks start anew where the transaction goes on; it ends the phase where it does not."""
        is_over = self._gateway.now() >= self._body_deadline
        if is_over:
            self._body_deadline = self._gateway.now() + self._gateway.body_total_s
        self.enter(_BODY)
        self.deadline = min(self.deadline, self._body_deadline)
        transaction.on_late_body(is_over=is_over)

    def may_be_judged_before(self, gateway: Gateway) -> bool:
        """Whether a body is being judged here by what was in force before this gateway, as far as we know."""
        return self.phase is Phase.JUDGING and self._gateway is not gateway

    def close_when_idle(self) -> None:
        """The front drains: an idle connection ends now, a busy one with its answer."""
        self.codec.ends_after_reply = True
        if self._transaction is None and self.phase in (_IDLE, _HEAD) and not self.codec.buffered_bytes:
            self.transport.loseConnection()

    def _linger(self) -> None:
        """Shuts our side and reads on for a while: closing at once may destroy the reply on its way (RST)."""
        if self.phase is _LINGERING:
            return
        self.enter(_LINGERING)
        if self._has_unwritten:
            self.deadline = self._gateway.now() + self._gateway.phase_s[Phase.ANSWERING]
        self.resume_reading()
        self.transport.loseWriteConnection()

    def _linger_on(self, data: bytes) -> None:
        self._lingered_bytes += len(data)
        if self._lingered_bytes > self._gateway.discard_bytes:
            self.transport.abortConnection()


_IDLE, _HEAD, _BODY = Phase.IDLE, Phase.HEAD, Phase.BODY
_DISCARDING, _LINGERING = Phase.DISCARDING, Phase.LINGERING
_NEED_DATA, _PAUSED = Wait.NEED_DATA, Wait.PAUSED
