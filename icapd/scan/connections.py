"""Connections of a remote engine to its server: kept, used by one question at a time, bounded in number.

Knows bytes; what they mean is the engine's. Nothing here blocks, and nothing is read that nobody asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from icapd.config.address import Endpoint
from icapd.errors import RemoteFailed

UNREAD_BYTES_MAX = 1024 * 1024
"""What may lie unread. A server that says more while nobody listens does not speak our protocol."""

T = TypeVar("T")


class ConnectionGone(RemoteFailed):
    """The connection was closed, by either side."""


@implementer(IPullProducer)
class Wire(Protocol):
    """One connection. `receive` and `stream` may wait at the same time, each once.

    State: `has_heard` anything since the present question began; `is_spent` when no further one may use it.
    """

    transport: Any

    def __init__(self) -> None:
        self.is_gone = False
        self.is_spent = False
        self.has_heard = False
        self.idle_since = 0.0
        self._farewell = "the server closed the connection"
        self._unread = b""
        self._hearing: Deferred[None] | None = None
        self._pieces: Iterator[bytes] | None = None
        self._streamed: Deferred[None] | None = None

    def send(self, data: bytes) -> None:
        """Sends a little: what the other side does not take at once is kept in memory."""
        self.transport.write(data)

    async def stream(self, pieces: Iterator[bytes]) -> None:
        """Sends each piece when the one before is out.

        Ends without a word when the connection goes: what the server said before that tells more.
        Raises: what `pieces` raises.
        """
        if self.is_gone:
            return
        streamed: Deferred[None] = Deferred()
        self._pieces, self._streamed = pieces, streamed
        self.transport.registerProducer(self, False)
        await streamed

    async def receive(self) -> bytes:
        """What came since this was last asked, at least a byte. Raises: ConnectionGone at the end."""
        if not self._unread and not self.is_gone:
            self._hearing = Deferred()
            await self._hearing
        data, self._unread = self._unread, b""
        if not data:
            raise ConnectionGone(self._farewell)
        return data

    def close(self) -> None:
        """Gives up at once; what was not sent is dropped."""
        self.is_spent = True
        if not self.is_gone:
            self.transport.abortConnection()

    # Twisted's side

    def dataReceived(self, data: bytes) -> None:
        self.has_heard = True
        self._unread += data
        if len(self._unread) > UNREAD_BYTES_MAX:
            self.close()
        self._wake()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.is_gone = True
        if reason is not None and not reason.check(ConnectionClosed):
            self._farewell = f"the connection broke: {reason.value}"  # as a certificate that is not trusted
        self._end_stream()
        self._wake()

    def resumeProducing(self) -> None:
        try:
            piece = None if self._pieces is None else next(self._pieces, None)
        except Exception:  # whatever it is, who streams is told
            self._end_stream(Failure())
            return
        if piece is None:
            self._end_stream()
        else:
            self.transport.write(piece)

    def stopProducing(self) -> None:
        self._pieces = None

    def _end_stream(self, outcome: Failure | None = None) -> None:
        streamed, self._streamed, self._pieces = self._streamed, None, None
        if streamed is None:
            return
        if not self.is_gone:
            self.transport.unregisterProducer()
        if not streamed.called:
            streamed.callback(outcome)

    def _wake(self) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is not None and not hearing.called:
            hearing.callback(None)


W = TypeVar("W", bound=Wire)


class Connections(Generic[W]):
    """Up to `limit` connections to one server; who finds all of them in use waits in line.

    State: `_in_use`, questions under way; `_idle`, open connections, the one used last at the end.
    """

    def __init__(
        self,
        reactor: Any,
        server: Endpoint,
        make: Callable[[], W],
        limit: int,
        connect_timeout_s: float,
        idle_s: float,
        tls: Any = None,
    ) -> None:
        """Args: `tls` are Twisted's options for clients, where TLS is spoken."""
        self._reactor = reactor
        self._server = server
        self._tls = tls
        self._factory = Factory.forProtocol(make)
        self._factory.noisy = False
        self._limit = limit
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._in_use = 0
        self._line: deque[Deferred[None]] = deque()
        self._idle: list[W] = []
        self._is_stopped = False

    def stop(self) -> None:
        """Closes what is idle; what is in use is closed when its question ends."""
        self._is_stopped = True
        while self._idle:
            self._idle.pop().close()

    async def ask(self, question: Callable[[W], Awaitable[T]]) -> T:
        """Asks on a connection of its own, which is kept if all went well.

        A kept connection may have been closed by the server at the very moment; then a fresh one is asked. Once only,
        and not if anything was heard: a body that crashes servers would crash every one that is started.

        Raises: RemoteFailed; what the question raises.
        """
        await self._enter()
        try:
            wire = self._take_idle()
            if wire is not None:
                try:
                    return await self._ask_on(wire, question)
                except ConnectionGone:
                    if wire.has_heard:
                        raise
            return await self._ask_on(await self._connect(), question)
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._in_use < self._limit:
            self._in_use += 1
            return
        turn: Deferred[None] = Deferred(self._line.remove)
        self._line.append(turn)
        await turn  # it has the place of who left

    def _leave(self) -> None:
        if self._line:
            self._line.popleft().callback(None)
        else:
            self._in_use -= 1

    def _take_idle(self) -> W | None:
        now = self._reactor.seconds()
        while self._idle:
            wire = self._idle.pop()
            # What was heard meanwhile is no answer, but a farewell.
            if not wire.is_gone and not wire.has_heard and now - wire.idle_since < self._idle_s:
                return wire
            wire.close()
        return None

    async def _ask_on(self, wire: W, question: Callable[[W], Awaitable[T]]) -> T:
        try:
            answer = await question(wire)
        except BaseException:
            wire.close()  # what is half said cannot be taken back
            raise
        if wire.is_spent or wire.is_gone or self._is_stopped:
            wire.close()
        else:
            wire.has_heard = False
            wire.idle_since = self._reactor.seconds()
            self._idle.append(wire)
        return answer

    async def _connect(self) -> W:
        endpoint = _endpoint(self._reactor, self._server, self._connect_timeout_s)
        if self._tls is not None:
            endpoint = wrapClientTLS(self._tls, endpoint)
        connecting = endpoint.connect(self._factory)
        try:
            wire: W = await connecting
        except CancelledError:
            raise
        except ConnectingCancelledError as error:  # of the endpoint's own making
            raise CancelledError from error
        except Exception as error:  # refused, unreachable, unknown, late: each is of another class
            raise RemoteFailed(f"cannot connect to {self._server}: {error}") from error
        return wire


def _endpoint(reactor: Any, server: Endpoint, timeout_s: float) -> Any:
    if server.is_unix:
        return UNIXClientEndpoint(reactor, server.path, timeout_s)
    if isIPAddress(server.host):
        return TCP4ClientEndpoint(reactor, server.host, server.port, timeout_s)
    if isIPv6Address(server.host):
        return TCP6ClientEndpoint(reactor, server.host, server.port, timeout_s)
    return HostnameEndpoint(reactor, server.host, server.port, timeout_s)
