"""Splits multipart/form-data into its parts while it comes. Strict: what two receivers could split in two ways is
refused, so that an application sees the parts that were judged.

It finds boundaries and reads the heads of parts, as a codec finds chunks; what is inside stays bytes. No more is kept
than one part's head, or a boundary's length.

Spec: RFC 7578, RFC 2046 §5.1.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

from icapd.errors import PeerProtocolError
from icapd.icap.head import parse_fields

PART_HEAD_BYTES_MAX: Final = 8 * 1024
PART_HEADER_LINES_MAX: Final = 16
_END: Final = b"\r\n\r\n"
_PARAMETER = re.compile(r';[ \t]*(?:([!#$&+.^_`|~0-9A-Za-z*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+))[ \t]*)?')
_ESCAPED = re.compile(r"\\([\"\\])")
FIELD_NAME: Final = r"^[^\u0000-\u001f\u007f]{1,1024}$"
"""What a part may be called, as OpenAPI writes it."""
_FIELD_NAME = re.compile(FIELD_NAME)
_BROWSER_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
_PLAIN_TRANSFER: Final = frozenset({b"7bit", b"8bit", b"binary"})


class PartHead(NamedTuple):
    """The head of a part. `name` is the file's, or the field's where it has none."""

    values: dict[bytes, bytes]
    name: str


class _State(enum.Enum):
    START = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    AFTER = enum.auto()


class FormSplitter:
    """State: `_buffer`, what is not decided yet; `_parts`, how many have begun; `_is_content_open` once a
    part's content is known not to begin with a boundary."""

    def __init__(self, boundary: bytes, parts_max: int) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._parts_max = parts_max
        self._parts = 0
        self._state = _State.START
        self._is_content_open = False
        self._buffer = b"\r\n"  # so that the first boundary, too, has a line end before it

    def feed(self, data: bytes) -> Iterator[PartHead | bytes | None]:
        """The head of each part, pieces of its content, and None at its end. To be consumed whole.

        Raises: PeerProtocolError for what is no form, or past a limit.
        """
        self._buffer = self._buffer + data if self._buffer else data
        while True:
            if self._state is _State.START:
                if not self._take_start() or not self._take_delimiter():
                    return
            elif self._state is _State.HEAD:
                head = self._take_head()
                if head is None:
                    return
                yield head
            elif self._state is _State.BODY:
                piece, is_end = self._take_content()
                if piece:
                    yield piece
                if not is_end or not self._take_delimiter():
                    return
                yield None
            else:
                if not b"\r\n".startswith(self._buffer):
                    raise PeerProtocolError("there is more behind the end of the form")
                return

    def finish(self) -> None:
        """The request is whole. Raises: PeerProtocolError when the form is not, or has no part."""
        if self._state is not _State.AFTER:
            raise PeerProtocolError("the form has no end")
        if not self._parts:
            raise PeerProtocolError("the form has no part")

    def _take_start(self) -> bool:
        """Nothing but a line end, which some clients send, may come first. False while that is not certain."""
        firsts = [before + self._delimiter for before in (b"", b"\r\n")]
        for first in firsts:
            if self._buffer.startswith(first):
                self._buffer = self._buffer[len(first) - len(self._delimiter) :]
                return True
        if not any(first.startswith(self._buffer) for first in firsts):
            raise PeerProtocolError("the form does not begin with its boundary")
        return False

    def _take_delimiter(self) -> bool:
        """The boundary the buffer begins with, and what it says. False while that is not whole."""
        length = len(self._delimiter)
        tail = self._buffer[length : length + 2]
        if len(tail) < 2:
            return False
        if tail == b"--":
            self._state = _State.AFTER
        elif tail == b"\r\n":
            if self._parts == self._parts_max:
                raise PeerProtocolError(f"the form has more than {self._parts_max} parts")
            self._parts += 1
            self._state = _State.HEAD
        else:
            raise PeerProtocolError("a boundary is followed by something else")
        self._buffer = self._buffer[length + 2 :]
        return True

    def _take_head(self) -> PartHead | None:
        end = self._buffer.find(_END)
        if end > PART_HEAD_BYTES_MAX or (end < 0 and len(self._buffer) > PART_HEAD_BYTES_MAX + len(_END) - 1):
            raise PeerProtocolError(f"the head of a part is longer than {PART_HEAD_BYTES_MAX} bytes")
        if end < 0:
            return None
        block, self._buffer = self._buffer[: end + 2], self._buffer[end + len(_END) :]
        values = parse_fields(block, PART_HEADER_LINES_MAX)
        if values.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_TRANSFER:
            raise PeerProtocolError("a part has a Content-Transfer-Encoding, which RFC 7578 has done away with")
        self._state = _State.BODY
        self._is_content_open = False
        return PartHead(values, _name(values.get(b"content-disposition", b"")))

    def _take_content(self) -> tuple[bytes, bool]:
        """What is content for certain, and whether a boundary follows it."""
        buffer, delimiter = self._buffer, self._delimiter
        if not self._is_content_open:
            if buffer.startswith(delimiter[2:]):
                raise PeerProtocolError("a boundary without a line end of its own")
            if delimiter[2:].startswith(buffer):
                return b"", False
            self._is_content_open = True
        end = buffer.find(delimiter)
        if end >= 0:
            self._buffer = buffer[end:]
            return buffer[:end], True
        keep = buffer.find(b"\r", max(0, len(buffer) - len(delimiter) + 1))
        while keep >= 0 and not delimiter.startswith(buffer[keep:]):
            keep = buffer.find(b"\r", keep + 1)
        if keep < 0:
            self._buffer = b""
            return buffer, False
        self._buffer = buffer[keep:]
        return buffer[:keep], False


def read_parameters(text: str) -> dict[str, str]:
    """What follows the first `;` of a header's value, by lower-case name.

    Raises: PeerProtocolError for what is no list of parameters, and for one that stands twice.
    """
    place = text.find(";")
    parameters: dict[str, str] = {}
    while 0 <= place < len(text):
        found = _PARAMETER.match(text, place)
        if found is None:
            raise PeerProtocolError("malformed parameters")
        place = found.end()
        if found[1] is None:
            continue
        key = found[1].lower()
        if key in parameters:
            raise PeerProtocolError(f"{key} stands twice")
        parameters[key] = found[3] if found[2] is None else _ESCAPED.sub(r"\1", found[2])
    return parameters


def _name(disposition: bytes) -> str:
    """Raises: PeerProtocolError for what is no Content-Disposition of a form's part."""
    text = disposition.decode("utf-8", "replace")
    parameters = read_parameters(text)
    if text.partition(";")[0].strip().lower() != "form-data" or "name" not in parameters:
        raise PeerProtocolError("a part has no Content-Disposition: form-data with a name")
    if _FIELD_NAME.fullmatch(_unescaped(parameters["name"])) is None:
        raise PeerProtocolError("a part's name is empty, too long, or has control characters")
    name = _unescaped(parameters.get("filename", parameters["name"]))
    if "filename*" not in parameters:
        return name
    # Not for forms, RFC 7578 says. Some clients send it even so, and some receivers go by the other one.
    extended = unquote(parameters["filename*"].rpartition("'")[2])
    if "filename" in parameters and name.rpartition(".")[2].lower() != extended.rpartition(".")[2].lower():
        raise PeerProtocolError("a part's filename and filename* end differently")
    return extended


def _unescaped(name: str) -> str:
    for escaped, plain in _BROWSER_ESCAPES.items():
        name = name.replace(escaped, plain)
    return name
