"""A second, plain reading of the wire, written without the codec: what the codec's events are compared with.

It reads whole captures, knows no limits and trusts its input.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

_SECTION = re.compile(rb"([a-z]+-(?:hdr|body))=(\d+)")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]+)([^\r\n]*)\r\n")


@dataclass
class Body:
    data: bytes
    end_extension: bytes
    trailers: bytes


@dataclass
class ReadMessage:
    """A request or a reply."""

    start_line: bytes
    fields: bytes
    sections: dict[str, bytes] = field(default_factory=dict)
    body_name: str = "null-body"
    preview: Body | None = None
    rest: Body | None = None

    @property
    def body(self) -> bytes:
        return b"".join(part.data for part in (self.preview, self.rest) if part is not None)

    def field_value(self, name: bytes) -> bytes | None:
        for line in self.fields.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    @property
    def status(self) -> int:
        return int(self.start_line.split(b" ")[1])


def dechunk(data: bytes, at: int) -> tuple[Body, int]:
    """The chunked body at `at`, and where it ends."""
    pieces = []
    while True:
        line = _CHUNK_LINE.match(data, at)
        assert line is not None, f"no chunk at {at}"
        size, at = int(line[1], 16), line.end()
        if size == 0:
            break
        pieces.append(data[at : at + size])
        assert data[at + size : at + size + 2] == b"\r\n"
        at += size + 2
    trailers_start = at
    while not data.startswith(b"\r\n", at):
        at = data.index(b"\r\n", at) + 2
    return Body(b"".join(pieces), line[2], data[trailers_start:at]), at + 2


def read_head(data: bytes, at: int) -> tuple[ReadMessage, int]:
    """The ICAP head at `at` with the HTTP heads that follow it."""
    end = data.index(b"\r\n\r\n", at)
    start_line, _, fields = data[at : end + 2].partition(b"\r\n")
    message = ReadMessage(start_line, fields)
    at = end + 4
    sections = [
        (name.decode(), int(place)) for name, place in _SECTION.findall(message.field_value(b"encapsulated") or b"")
    ]
    for (name, place), (_, after) in itertools.pairwise(sections):
        message.sections[name] = data[at + place : at + after]
    if sections:
        message.body_name = sections[-1][0]
        at += sections[-1][1]
    return message, at


def read_requests(data: bytes) -> tuple[list[ReadMessage], bytes]:
    """Every request of a client's bytes, and what is left behind the last."""
    requests = []
    at = 0
    while at < len(data) and not _CHUNK_LINE.match(data, at):
        message, at = read_head(data, at)
        requests.append(message)
        if message.body_name == "null-body":
            continue
        body, at = dechunk(data, at)
        if message.field_value(b"preview") is None:
            message.rest = body
            continue
        message.preview = body
        if b"ieof" not in body.end_extension and _CHUNK_LINE.match(data, at):
            message.rest, at = dechunk(data, at)
    return requests, data[at:]


def read_replies(data: bytes) -> list[ReadMessage]:
    """Every reply of a server's bytes; nothing may be left over."""
    replies = []
    at = 0
    while at < len(data):
        message, at = read_head(data, at)
        replies.append(message)
        if message.body_name != "null-body":
            message.rest, at = dechunk(data, at)
    return replies
