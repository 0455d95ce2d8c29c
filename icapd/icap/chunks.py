"""The chunked transfer coding of ICAP bodies (RFC 3507 §4.4, RFC 9112 §7.1), read in a stream.

Data is handed on as it comes, never gathered by chunk: some clients send a whole file as one chunk.
"""

from __future__ import annotations

import enum
import re

from icapd.errors import PeerProtocolError
from icapd.icap.head import parse_fields

# No possessive quantifiers: those of Debian 12's Python 3.11.2 accept `;` without a name here. The alternatives
# exclude each other by their first byte, so that nothing backtracks far; lines are bounded before.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*\""
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_LINE_OF_DATA = re.compile(rb"(?!0+\r)([0-9A-Fa-f]{1,15})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:%b)*)\r\n" % _EXTENSION)
_EACH_EXTENSION = re.compile(_EXTENSION)
_LAST_CHUNK = b"0\r\n\r\n"
_LAST_CHUNK_IEOF = b"0; ieof\r\n\r\n"
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

    State: `is_finished` after the zero chunk and its trailers; `is_ieof` then says: the preview was the whole body.
    """

    __slots__ = (
        "_line_limit",
        "_reading",
        "_trailer_limit",
        "_trailer_lines",
        "chunk_bytes_left",
        "is_finished",
        "is_ieof",
        "trailers",
    )

    def __init__(self, line_limit_bytes: int, trailer_limit_bytes: int, trailer_lines: int) -> None:
        self._line_limit = line_limit_bytes
        self._trailer_limit = trailer_limit_bytes
        self._trailer_lines = trailer_lines
        self._reading = _SIZE
        self.chunk_bytes_left = 0
        self.is_finished = False
        self.is_ieof = False
        self.trailers = b""

    def restart(self) -> None:
        """Begins a new body, or the rest of one after its preview (RFC 3507 §4.5)."""
        self._reading = _SIZE
        self.is_finished = False
        self.is_ieof = False
        self.trailers = b""

    def decode_rest(self, buffer: bytes, start: int, *, is_preview: bool) -> tuple[bytes, int] | None:
        """What is left of a body or a preview, where all of it is here in plain chunks, as most often it is.

        Returns: its data, and where what follows it begins; None for any other, of which nothing is taken.
        """
        pieces: list[bytes] = []
        if self._reading is _DATA:
            end = start + self.chunk_bytes_left
            if not buffer.startswith(b"\r\n", end):
                return None
            pieces.append(buffer[start:end])
            start = end + 2
        elif self._reading is not _SIZE:
            return None
        position = _take_plain_chunks(buffer, start, pieces)
        if buffer.startswith(_LAST_CHUNK, position):
            position += len(_LAST_CHUNK)
        elif is_preview and buffer.startswith(_LAST_CHUNK_IEOF, position):
            position += len(_LAST_CHUNK_IEOF)
            self.is_ieof = True
        else:
            return None
        if not pieces:
            return None
        self.chunk_bytes_left = 0
        self._finish()
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), position

    def decode(self, buffer: bytes, start: int) -> tuple[bytes, int]:
        """Decodes as much as the buffer holds from `start`.

        Returns: the body bytes found, and where the undecoded rest begins.
        Raises: PeerProtocolError for a malformed or overlong chunk line, chunk end or trailer.
        """
        pieces: list[bytes] = []
        position = _take_plain_chunks(buffer, start, pieces) if self._reading is _SIZE else start
        while True:
            reading = self._reading
            if reading is _SIZE:
                match = _PLAIN_LINE.match(buffer, position)
                if match is None:
                    match = self._match_with_extensions(buffer, position)
                    if match is None:
                        break
                length = int(match[1], 16)
                if length > _CHUNK_BYTES_MAX:
                    raise PeerProtocolError("chunk size out of range")
                self.chunk_bytes_left = length
                self._reading = _DATA if length else _TRAILERS
                position = match.end()
            elif reading is _DATA:
                end = position + self.chunk_bytes_left
                piece = buffer[position:end]
                if piece:
                    pieces.append(piece)
                position += len(piece)
                self.chunk_bytes_left = end - position
                if position < end:
                    break
                if buffer.startswith(b"\r\n", end):
                    position = end + 2
                    self._reading = _SIZE
                else:
                    self._reading = _DATA_CRLF
            elif reading is _DATA_CRLF:
                if not buffer.startswith(b"\r\n", position):
                    self._check_partial_end(buffer, position)
                    break
                position += 2
                self._reading = _SIZE
            else:
                position = self._read_trailers(buffer, position)
                break
        if not pieces:
            return b"", position
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), position

    def _match_with_extensions(self, buffer: bytes, position: int) -> re.Match[bytes] | None:
        """The size line at `position` with its extensions; None while it is incomplete."""
        match = _SIZE_LINE.match(buffer, position)
        if match is None:
            self._check_partial_line(buffer, position)
            return None
        if match.end() - match.start() > self._line_limit:
            raise PeerProtocolError("chunk line too long")
        # Extension by extension, because a quoted value may hold the text of one.
        if any(extension.strip(b"; \t").lower() == b"ieof" for extension in _EACH_EXTENSION.findall(match[2])):
            if int(match[1], 16):
                raise PeerProtocolError("ieof on a chunk with data")
            self.is_ieof = True
        return match

    @staticmethod
    def _check_partial_end(buffer: bytes, position: int) -> None:
        if not b"\r\n".startswith(buffer[position : position + 2]):
            raise PeerProtocolError("chunk does not end with CRLF")

    def _check_partial_line(self, buffer: bytes, position: int) -> None:
        # A CR is part of a line's end, so it is the last byte that is here, if there is one.
        if buffer.find(b"\n", position) >= 0 or 0 <= buffer.find(b"\r", position) < len(buffer) - 1:
            raise PeerProtocolError("malformed chunk size line")
        if len(buffer) - position > self._line_limit:
            raise PeerProtocolError("chunk line too long")

    def _read_trailers(self, buffer: bytes, position: int) -> int:
        if buffer.startswith(b"\r\n", position):
            self._finish()
            return position + 2
        end = buffer.find(b"\r\n\r\n", position)
        earliest_end = end if end >= 0 else len(buffer) - 3
        if earliest_end + 2 - position > self._trailer_limit:
            raise PeerProtocolError("trailers too long")
        if end < 0:
            return position
        trailers = buffer[position : end + 2]
        parse_fields(trailers, self._trailer_lines)
        self.trailers = trailers
        self._finish()
        return end + 4

    def _finish(self) -> None:
        self._reading = _DONE
        self.is_finished = True


def _take_plain_chunks(buffer: bytes, position: int, pieces: list[bytes]) -> int:
    """Takes the chunks that are whole and have nothing but a size in their first line: nearly all there are.

    Returns: where the first other one begins, or the last.
    """
    while True:
        match = _LINE_OF_DATA.match(buffer, position)
        if match is None:
            return position
        begin = match.end()
        end = begin + int(match[1], 16)
        if not buffer.startswith(b"\r\n", end):
            return position
        pieces.append(buffer[begin:end])
        position = end + 2
