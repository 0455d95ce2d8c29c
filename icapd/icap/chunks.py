"""The chunked transfer coding of ICAP bodies (RFC 3507 §4.4, RFC 9112 §7.1), read in a stream.

Data is handed on as it comes, never gathered by chunk: some clients send a whole file as one chunk.
"""

from __future__ import annotations

import enum
import re

from icapd.errors import PeerProtocolError
from icapd.icap.head import check_fields

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+\""
_EXTENSION = rb"[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+" % (_TOKEN, _TOKEN, _QUOTED)
_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:%b)*+)\r\n" % _EXTENSION)
_EACH_EXTENSION = re.compile(_EXTENSION)
_CHUNK_BYTES_MAX = (1 << 63) - 1


class _Reading(enum.IntEnum):
    SIZE = 0
    DATA = 1
    DATA_CRLF = 2
    TRAILERS = 3
    DONE = 4


# Members bound once: reading one from its class costs more than a step of the loop below.
_SIZE, _DATA, _DATA_CRLF, _TRAILERS, _DONE = _Reading


class ChunkDecoder:
    """Reads one chunked body, or one preview, from a buffer.

    State: `finished` after the zero chunk and its trailers; then `is_ieof` says that the preview was the whole body.
    """

    __slots__ = (
        "_line_limit",
        "_reading",
        "_trailer_limit",
        "_trailer_lines",
        "chunk_bytes_left",
        "is_ieof",
        "trailers",
    )

    def __init__(self, line_limit_bytes: int, trailer_limit_bytes: int, trailer_lines: int) -> None:
        self._line_limit = line_limit_bytes
        self._trailer_limit = trailer_limit_bytes
        self._trailer_lines = trailer_lines
        self._reading = _SIZE
        self.chunk_bytes_left = 0
        self.is_ieof = False
        self.trailers = b""

    @property
    def finished(self) -> bool:
        return self._reading is _DONE

    def restart(self) -> None:
        """Begins the rest of a body after its preview (RFC 3507 §4.5)."""
        self._reading = _SIZE
        self.is_ieof = False
        self.trailers = b""

    def decode(self, buffer: bytes, start: int) -> tuple[bytes, int]:
        """Decodes as much as the buffer holds from `start`.

        Returns: the body bytes found, and where the undecoded rest begins.
        Raises: PeerProtocolError for a malformed or overlong chunk line, chunk end or trailer.
        """
        pieces: list[bytes] = []
        position = start
        while True:
            reading = self._reading
            before = position
            if reading is _SIZE:
                position = self._read_size_line(buffer, position)
            elif reading is _DATA:
                position = self._read_data(buffer, position, pieces)
            elif reading is _DATA_CRLF:
                position = self._read_data_end(buffer, position)
            elif reading is _TRAILERS:
                position = self._read_trailers(buffer, position)
            if position == before or self._reading is _DONE:
                break
        if not pieces:
            return b"", position
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), position

    def _read_size_line(self, buffer: bytes, position: int) -> int:
        match = _PLAIN_LINE.match(buffer, position)
        if match is None:
            match = _SIZE_LINE.match(buffer, position)
            if match is None:
                self._check_partial_line(buffer, position)
                return position
            self._read_extensions(match)
        length = int(match[1], 16)
        if length > _CHUNK_BYTES_MAX:
            raise PeerProtocolError("chunk size out of range")
        self.chunk_bytes_left = length
        self._reading = _DATA if length else _TRAILERS
        return match.end()

    def _read_data(self, buffer: bytes, position: int, pieces: list[bytes]) -> int:
        piece = buffer[position : position + self.chunk_bytes_left]
        if not piece:
            return position
        pieces.append(piece)
        self.chunk_bytes_left -= len(piece)
        position += len(piece)
        if self.chunk_bytes_left == 0:
            self._reading = _DATA_CRLF
            if buffer.startswith(b"\r\n", position):
                self._reading = _SIZE
                position += 2
        return position

    def _read_data_end(self, buffer: bytes, position: int) -> int:
        if buffer.startswith(b"\r\n", position):
            self._reading = _SIZE
            return position + 2
        if not b"\r\n".startswith(buffer[position : position + 2]):
            raise PeerProtocolError("chunk does not end with CRLF")
        return position

    def _read_extensions(self, match: re.Match[bytes]) -> None:
        if match.end() - match.start() > self._line_limit:
            raise PeerProtocolError("chunk line too long")
        # Extension by extension, because a quoted value may hold the text of one.
        if any(extension.strip(b"; \t").lower() == b"ieof" for extension in _EACH_EXTENSION.findall(match[2])):
            if int(match[1], 16):
                raise PeerProtocolError("ieof on a chunk with data")
            self.is_ieof = True

    def _check_partial_line(self, buffer: bytes, position: int) -> None:
        end = buffer.find(b"\n", position)
        if end >= 0:
            raise PeerProtocolError("malformed chunk size line")
        if len(buffer) - position > self._line_limit:
            raise PeerProtocolError("chunk line too long")

    def _read_trailers(self, buffer: bytes, position: int) -> int:
        if buffer.startswith(b"\r\n", position):
            self._reading = _DONE
            return position + 2
        end = buffer.find(b"\r\n\r\n", position)
        earliest_end = end if end >= 0 else len(buffer) - 3
        if earliest_end + 2 - position > self._trailer_limit:
            raise PeerProtocolError("trailers too long")
        if end < 0:
            return position
        trailers = buffer[position : end + 2]
        check_fields(trailers, self._trailer_lines)
        self.trailers = trailers
        self._reading = _DONE
        return end + 4
