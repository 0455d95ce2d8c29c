"""A connection to another ICAP server: one request and its reply, written and read at the same time.

The reply's body is compared with what was sent, and not kept.
"""

from __future__ import annotations

from itertools import chain

from twisted.internet.defer import Deferred

from engines.icap_upstream.answers import Answer
from engines.icap_upstream.requests import Service, chunks_of, options_request, preview_of, respmod_head
from icapd.errors import PeerProtocolError
from icapd.icap.reply import ReplyHead, ReplyReader
from icapd.scan.connections import Wire
from icapd.scan.engine_api import RemoteBody, RemoteFailed


class _Comparison:
    """A body with what comes back of it."""

    def __init__(self, body: RemoteBody) -> None:
        self._body = body
        self._offset = 0
        self._is_same = True

    def take(self, data: bytes) -> None:
        if data and self._is_same:
            self._is_same = self._body.read(self._offset, len(data)) == data
            self._offset += len(data)

    @property
    def is_unchanged(self) -> bool:
        return self._is_same and self._offset == self._body.size_bytes


class IcapWire(Wire):
    """State: that of a Wire; `_sending`, the body that goes out in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._sending: Deferred[None] | None = None

    async def options(self, service: Service) -> ReplyHead:
        """Raises: RemoteFailed."""
        self.send(options_request(service))
        reader = ReplyReader()
        while not reader.is_finished:
            self._read(reader, await self.receive())
        return self._ended(reader)

    async def respmod(self, service: Service, body: RemoteBody, preview_bytes: int | None) -> Answer:
        """Asks about a body. Raises: RemoteFailed."""
        self._sending = None
        head = respmod_head(service, body, preview_bytes)
        if preview_bytes is None:
            self._send_body(body, 0, head)
        else:
            self.send(head + preview_of(body, preview_bytes))
        may_continue = preview_bytes is not None and body.size_bytes > preview_bytes
        reader, comparison = ReplyReader(), _Comparison(body)
        while not reader.is_finished:
            comparison.take(self._read(reader, await self.receive()))
            if reader.take_continue():
                if not may_continue or preview_bytes is None:
                    raise RemoteFailed("100 Continue that nobody waits for")
                may_continue = False
                self._send_body(body, preview_bytes)
        return Answer(self._ended(reader), comparison.is_unchanged)

    def _send_body(self, body: RemoteBody, offset: int, head: bytes = b"") -> None:
        self._sending = Deferred.fromCoroutine(self.stream(chain([head] if head else [], chunks_of(body, offset))))
        self._sending.addErrback(lambda _: self.close())  # the body cannot be read: nobody waits for a reply then

    def _read(self, reader: ReplyReader, data: bytes) -> bytes:
        try:
            return reader.receive(data)
        except PeerProtocolError as error:
            raise RemoteFailed(f"the server breaks the protocol: {error}") from error

    def _ended(self, reader: ReplyReader) -> ReplyHead:
        """Decides whether the connection can be used again. Raises: RemoteFailed without a reply."""
        head = reader.head
        if head is None:
            raise RemoteFailed("no reply")
        is_early = self._sending is not None and not self._sending.called
        if is_early or (head.field("connection") or "").lower() == "close":
            self.is_spent = True
        return head
