"""One ICAP connection without I/O: bytes in, events out; messages in, bytes out.

    connection = Connection(limits)
    connection.receive_data(data)
    while not isinstance(event := connection.next_event(), Wait):
        ...
    transport.writeSequence(connection.send(Reply(204, istag)))
    if connection.cycle_is_over: connection.start_next_cycle()

It refuses to know clocks, sockets, services and policy. What the peer breaks is a PeerProtocolError with the status
that answers it; what we break is a LocalProtocolError.
"""

from __future__ import annotations

import msgspec

from icapd.errors import LocalProtocolError, PeerProtocolError
from icapd.icap.chunks import ChunkDecoder
from icapd.icap.encapsulated import NOTHING, Encapsulated, parse_encapsulated
from icapd.icap.events import (
    END_OF_MESSAGE,
    PREVIEW_END,
    BodyData,
    EndOfMessage,
    Event,
    Message,
    PeerClosed,
    PreviewEnd,
    Reply,
    ReplyData,
    ReplyEnd,
    RequestHead,
    Stream,
    Wait,
)
from icapd.icap.head import METHODS as METHODS
from icapd.icap.head import check_unfinished, parse_fields, read_request_line, steering_of
from icapd.icap.state import CLIENT, SERVER, ClientState, ServerState, Step
from icapd.icap.writer import CONTINUE_BYTES, render_chunk, render_end, render_reply

_HEAD_ENDS = b"\r\n\r\n"

# Members bound once: reading one from its class costs several times a dictionary look-up.
_IDLE, _PREVIEW, _BODY = ClientState.IDLE, ClientState.PREVIEW, ClientState.BODY
_DONE, _BROKEN = ClientState.DONE, ClientState.BROKEN
_DISCARDING = (ClientState.DISCARDED_PREVIEW, ClientState.DISCARDED_BODY)
_PREVIEWING = (ClientState.PREVIEW, ClientState.DISCARDED_PREVIEW)
_READING = (ClientState.PREVIEW, ClientState.BODY, *_DISCARDING)
_SERVER_IDLE, _SERVER_DONE, _CLOSING = ServerState.IDLE, ServerState.DONE, ServerState.CLOSING
_HEAD_WITH_PREVIEW, _HEAD_WITH_BODY = Step.HEAD_WITH_PREVIEW, Step.HEAD_WITH_BODY
_PREVIEW_ENDS, _MESSAGE_ENDS = Step.PREVIEW_ENDS, Step.MESSAGE_ENDS
_WHOLE_REPLY, _LAST_WHOLE_REPLY = Step.WHOLE_REPLY, Step.LAST_WHOLE_REPLY
_NEED_DATA, _PAUSED = Wait.NEED_DATA, Wait.PAUSED
_STREAM = Stream.STREAM


class CodecLimits(msgspec.Struct, frozen=True):
    """Ceilings of what one connection may make us keep. Bytes, but for the counts."""

    head_bytes: int = 65_536
    http_head_bytes: int = 262_144
    header_count: int = 200
    chunk_line_bytes: int = 4096
    trailer_bytes: int = 16_384
    discard_bytes: int = 64 * 1024 * 1024


class Connection:
    """One client connection.

    State: `client` and `server` are rows of the tables in `state`; all other attributes belong to the current cycle.
    """

    __slots__ = (
        "_answers_preview",
        "_at_eof",
        "_awaited_bytes",
        "_buffer",
        "_chunks",
        "_discarded_bytes",
        "_head_scanned",
        "_limits",
        "_position",
        "_request",
        "client",
        "ends_after_reply",
        "server",
    )

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._buffer = b""
        self._position = 0
        self._head_scanned = 0
        self._awaited_bytes = 0
        self._at_eof = False
        self.client = _IDLE
        self.server = _SERVER_IDLE
        self._request: RequestHead | None = None
        self._chunks = ChunkDecoder(limits.chunk_line_bytes, limits.trailer_bytes, limits.header_count)
        self._answers_preview = False
        self._discarded_bytes = 0
        self.ends_after_reply = False
        """Set by who serves it: the next reply is the connection's last."""

    # What the other layers ask

    @property
    def may_send_204(self) -> bool:
        """Allow: 204 was given, or the reply answers a preview that no 100 Continue followed (RFC 3507 §4.6)."""
        return self._answers_preview or (self._request is not None and self._request.allow_204)

    @property
    def answers_preview(self) -> bool:
        """A final reply now would be the answer to a preview."""
        return self._answers_preview

    @property
    def cycle_is_over(self) -> bool:
        """Both sides are done, and the connection goes on."""
        return self.client is _DONE and self.server is _SERVER_DONE

    @property
    def may_begin_reply(self) -> bool:
        """No reply to the current request has begun; also true where no request has come yet."""
        return self.server in (_SERVER_IDLE, ServerState.OWES_REPLY) and self.client is not ClientState.CLOSED

    @property
    def must_close(self) -> bool:
        """Our reply said so, or nothing more can be understood."""
        return self.server is _CLOSING

    @property
    def buffered_bytes(self) -> int:
        """Bytes received and not yet consumed: later, pipelined requests."""
        return len(self._buffer) - self._position

    @property
    def has_eof(self) -> bool:
        """The client has said that it sends no more."""
        return self._at_eof

    @property
    def chunk_bytes_left(self) -> int:
        """What the client has announced of the current chunk and not yet sent."""
        return self._chunks.chunk_bytes_left

    # Bytes in, events out

    def receive_data(self, data: bytes) -> None:
        """Takes bytes from the client."""
        if self._position == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    def receive_eof(self) -> None:
        """Notes that the client will send no more."""
        self._at_eof = True

    def next_event(self) -> Event | Wait:
        """The next thing the client did.

        Raises: PeerProtocolError; afterwards the only step left is an error reply and the end of the connection.
        """
        client = self.client
        try:
            if client is _IDLE:
                event: Event | Wait = self._read_head()
            elif client in _READING:
                event = self._read_body()
            else:
                return _PAUSED
        except PeerProtocolError:
            self._step(Step.CLIENT_BREAKS)
            raise
        if event is _NEED_DATA and self._at_eof:
            mid_message = client is not _IDLE or self.buffered_bytes > 0
            self.client = CLIENT[client][Step.CLIENT_CLOSES]
            return PeerClosed(mid_message)
        return event

    def take_rest(self) -> tuple[bytes, PreviewEnd | EndOfMessage] | None:
        """The rest of the preview or of the body, where all of it is here in plain chunks, and what ends with it.

        Asked after a head and when bytes came, it spares what most messages do not need: events for each of their
        parts. None for any other, which `next_event` tells of.
        """
        client = self.client
        is_preview = client is _PREVIEW
        # Only what ends with what is here: for the rest, looking would cost more than it spares.
        if (client is not _BODY and not is_preview) or not self._buffer.endswith(_HEAD_ENDS):
            return None
        chunks = self._chunks
        found = chunks.decode_rest(self._buffer, self._position, is_preview=is_preview)
        if found is None:
            return None
        data, self._position = found
        if is_preview and not chunks.is_ieof:
            self.client = CLIENT[client][_PREVIEW_ENDS]
            return data, PREVIEW_END
        self.client = CLIENT[client][_MESSAGE_ENDS]
        return data, END_OF_MESSAGE

    def start_next_cycle(self) -> None:
        """Forgets the finished request, so that the next can be read.

        Raises: LocalProtocolError unless `cycle_is_over`.
        """
        if not self.cycle_is_over:
            raise LocalProtocolError(f"no next cycle from {self.client.name}, {self.server.name}")
        self.client = _IDLE
        self.server = _SERVER_IDLE
        self._request = None
        self._answers_preview = False
        self._discarded_bytes = 0

    def _read_head(self) -> RequestHead | Wait:
        buffer, start = self._buffer, self._position
        if len(buffer) - start < self._awaited_bytes:
            return _NEED_DATA
        while buffer.startswith(b"\r\n", start):  # an empty line before a request is no request (RFC 9112 §2.2)
            start += 2
            self._position = start
        end = buffer.find(b"\r\n\r\n", start + self._head_scanned)
        if end < 0:
            known = len(buffer) - start
            if known > self._limits.head_bytes:
                raise PeerProtocolError("head too long")
            check_unfinished(buffer, start, start + self._head_scanned)
            self._head_scanned = max(0, known - 3)
            return _NEED_DATA
        if end + 4 - start > self._limits.head_bytes:
            raise PeerProtocolError("head too long")
        return self._parse_head(buffer[start : end + 2], end + 4)

    def _parse_head(self, head: bytes, body_start: int) -> RequestHead | Wait:
        line, _, fields = head.partition(b"\r\n")
        method, path = read_request_line(line)
        values = parse_fields(fields, self._limits.header_count)
        value = values.get(b"encapsulated")
        encapsulated = NOTHING if value is None else parse_encapsulated(value, method)
        steering = steering_of(values)
        sections = self._read_sections(encapsulated, body_start)
        if sections is None:
            return _NEED_DATA
        preview_bytes, allow_204, allow_206, allow_trailers, wants_close = steering
        request = RequestHead(
            method,
            path,
            fields,
            values,
            encapsulated,
            sections[0],
            sections[1],
            preview_bytes,
            allow_204,
            allow_206,
            allow_trailers,
            wants_close,
        )
        self._accept(request)
        return request

    def _read_sections(self, encapsulated: Encapsulated, start: int) -> tuple[bytes, bytes] | None:
        """The two HTTP heads behind an ICAP head, or None while they are incomplete."""
        request_bytes, response_bytes = encapsulated.req_bytes or 0, encapsulated.res_bytes or 0
        limit = self._limits.http_head_bytes
        if request_bytes > limit or response_bytes > limit:
            raise PeerProtocolError("encapsulated head too long")
        request_end = start + request_bytes
        end = request_end + response_bytes
        buffer = self._buffer
        if len(buffer) < end:
            self._awaited_bytes = end - self._position  # until then the head is not parsed again
            return None
        if (request_bytes and buffer.find(_HEAD_ENDS, start, request_end) != request_end - 4) or (
            response_bytes and buffer.find(_HEAD_ENDS, request_end, end) != end - 4
        ):
            raise PeerProtocolError("Encapsulated offsets do not meet the end of an HTTP head")
        self._position = end
        return buffer[start:request_end], buffer[request_end:end]

    def _accept(self, request: RequestHead) -> None:
        self._request = request
        self._head_scanned = 0
        self._awaited_bytes = 0
        if request.encapsulated.body == "null-body":
            self._answers_preview = request.preview_bytes is not None
            self._step(Step.HEAD_WITHOUT_BODY)
            return
        self._chunks.restart()
        if request.preview_bytes is None:
            self._step(_HEAD_WITH_BODY)
        else:
            self._answers_preview = True
            self._step(_HEAD_WITH_PREVIEW)

    def _read_body(self) -> Event | Wait:
        chunks = self._chunks
        if not chunks.is_finished:
            before = self._position
            data, self._position = chunks.decode(self._buffer, before)
            if self.client in _DISCARDING:
                self._discarded_bytes += self._position - before
                if self._discarded_bytes > self._limits.discard_bytes:
                    raise PeerProtocolError("too much body after its answer")
            elif data:
                return BodyData(data)
            if not chunks.is_finished:
                return _NEED_DATA
        return self._end_of_body(chunks)

    def _end_of_body(self, chunks: ChunkDecoder) -> Event | Wait:
        client = self.client
        if client in _PREVIEWING and not chunks.is_ieof:
            self.client = CLIENT[client][_PREVIEW_ENDS]
            return PREVIEW_END if client is _PREVIEW else _PAUSED
        self.client = CLIENT[client][_MESSAGE_ENDS]
        if client in _DISCARDING:
            return _PAUSED
        return EndOfMessage(chunks.trailers) if chunks.trailers else END_OF_MESSAGE

    # Messages in, bytes out

    def send(self, message: Message) -> list[bytes | memoryview]:
        """The bytes of a message, in order.

        Raises: LocalProtocolError for a message that the state tables have no row for.
        """
        if type(message) is Reply:
            return self._send_reply(message)
        if isinstance(message, ReplyData):
            self._step(Step.REPLY_DATA)
            return render_chunk(message.data)
        if isinstance(message, ReplyEnd):
            self._step(Step.REPLY_ENDS)
            return [render_end(message.trailers)]
        return self._send_continue()

    def _send_reply(self, reply: Reply) -> list[bytes | memoryview]:
        request = self._request
        if reply.status == 204:
            self._check_204(reply)
        if reply.http_is_request and request is not None and request.method != "REQMOD":
            raise LocalProtocolError(f"an HTTP request in a reply to {request.method}")
        is_last = request is None or request.wants_close or self.client is _BROKEN
        is_last = is_last or reply.close or self.ends_after_reply
        # A half-closed client may have sent its next request before; it goes on as long as there are bytes.
        is_last = is_last or (self._at_eof and self._position == len(self._buffer))
        if reply.body is _STREAM:
            self._step(Step.LAST_REPLY_BEGINS if is_last else Step.REPLY_BEGINS)
        else:
            self._step(_LAST_WHOLE_REPLY if is_last else _WHOLE_REPLY)
        return render_reply(reply, is_last)

    def _check_204(self, reply: Reply) -> None:
        if not self.may_send_204:
            raise LocalProtocolError("204 without permission")
        if reply.http_head or reply.body is not None:
            raise LocalProtocolError("204 with content")

    def _send_continue(self) -> list[bytes | memoryview]:
        self._step(Step.CONTINUE)
        self._answers_preview = False
        self._chunks.restart()
        return [CONTINUE_BYTES]

    def _step(self, step: Step) -> None:
        """Moves both sides. Raises: LocalProtocolError where one of the tables has no row."""
        try:
            client, server = CLIENT[self.client][step], SERVER[self.server][step]
        except KeyError:
            raise LocalProtocolError(f"{step.name} in {self.client.name}, {self.server.name}") from None
        self.client = client
        self.server = server
