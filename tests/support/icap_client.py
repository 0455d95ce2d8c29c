"""A small blocking ICAP client for tests: says exactly what it is told, and reads replies strictly."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Headers = Sequence[tuple[str, str]]

DEADLINE_S = 60.0
READ_BYTES = 256 * 1024

_STATUS_LINE = re.compile(rb"ICAP/1\.0 ([1-5][0-9]{2}) ([\x20-\x7e]*)")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff]*?)[ \t]*")
_SECTION = re.compile(r"(req-hdr|res-hdr|req-body|res-body|opt-body|null-body)=(0|[1-9][0-9]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})((?:[ \t]*;.*)?)")


class ReplyError(AssertionError):
    """The server's bytes are not an ICAP reply, or are more than one."""


@dataclass
class Reply:
    """One whole ICAP reply."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    sections: dict[str, bytes] = field(default_factory=dict)
    """The encapsulated header blocks as they came, by `req-hdr` or `res-hdr`."""
    body_kind: str = "null-body"
    body: bytes = b""
    last_chunk_extension: str = ""
    trailers: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The value of a header that may stand there once. Raises: ReplyError when it stands there twice."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(values) > 1:
            raise ReplyError(f"{name} stands {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def http_status(self) -> int:
        """The status of the encapsulated HTTP response."""
        return int(self.sections["res-hdr"].split(b" ", 2)[1])


def icap_head(method: str, url: str, headers: Headers) -> bytes:
    """A request head: request line, headers in their order, blank line."""
    lines = [f"{method} {url} ICAP/1.0", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def chunked(body: bytes, chunk_bytes: int = 16 * 1024, end: bytes = b"0\r\n\r\n") -> bytes:
    """The body in chunks of one size, and its end."""
    return b"".join(chunk(body[at : at + chunk_bytes]) for at in range(0, len(body), chunk_bytes)) + end


@dataclass(frozen=True)
class Request:
    """What to ask. Encapsulated, Preview and Allow follow from the parts; `headers` come last."""

    method: str
    service: str
    req_hdr: bytes = b""
    res_hdr: bytes = b""
    body: bytes | None = None
    preview_bytes: int | None = None
    allow: str = ""
    headers: Headers = ()
    chunk_bytes: int = 16 * 1024

    @property
    def encapsulated(self) -> str:
        """The Encapsulated value. RFC 3507 §4.4.1."""
        parts, offset = [], 0
        for name, block in (("req-hdr", self.req_hdr), ("res-hdr", self.res_hdr)):
            if block:
                parts.append(f"{name}={offset}")
                offset += len(block)
        kind = "null-body" if self.body is None else "req-body" if self.method == "REQMOD" else "res-body"
        return ", ".join([*parts, f"{kind}={offset}"])

    def head(self, host: str) -> bytes:
        """The ICAP head and the encapsulated heads."""
        headers: list[tuple[str, str]] = [("Host", host)]
        if self.method != "OPTIONS":
            headers.append(("Encapsulated", self.encapsulated))
        if self.preview_bytes is not None:
            headers.append(("Preview", str(self.preview_bytes)))
        if self.allow:
            headers.append(("Allow", self.allow))
        head = icap_head(self.method, f"icap://{host}{self.service}", [*headers, *self.headers])
        return head + self.req_hdr + self.res_hdr

    def preview(self) -> bytes:
        """The preview, with its end: `0; ieof` when it is the whole body. RFC 3507 §4.5."""
        if self.body is None or self.preview_bytes is None:
            return b""
        whole = len(self.body) <= self.preview_bytes
        end = b"0; ieof\r\n\r\n" if whole else b"0\r\n\r\n"
        return chunked(self.body[: self.preview_bytes], self.chunk_bytes, end)

    def remainder(self) -> bytes:
        """What follows the preview, or the whole body when there is none."""
        if self.body is None:
            return b""
        return chunked(self.body[self.preview_bytes or 0 :], self.chunk_bytes)


class IcapClient:
    """One connection. A context manager that closes it."""

    def __init__(self, address: tuple[str, int] | str, deadline_s: float = DEADLINE_S) -> None:
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(deadline_s)
            self._socket.connect(address)
            self.host = "localhost"
        else:
            self._socket = socket.create_connection(address, timeout=deadline_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.host = f"{address[0]}:{address[1]}"
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        """Half-close: the server sees the end of our bytes and can still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def exchange(self, request: Request) -> Reply:
        """Send the request, the rest of its body after 100 Continue, and read the final reply."""
        self.send(request.head(self.host))
        if request.preview_bytes is None or request.body is None:
            self.send(request.remainder())
            return self.read_reply()
        self.send(request.preview())
        reply = self.read_reply()
        if reply.status != 100:
            return reply
        if len(request.body) <= request.preview_bytes:
            raise ReplyError("100 Continue after ieof")
        self.send(request.remainder())
        return self.read_reply()

    def options(self, service: str, headers: Headers = ()) -> Reply:
        return self.exchange(Request("OPTIONS", service, headers=headers))

    def read_reply(self, *, last: bool = True) -> Reply:
        """One whole reply.

        Args:
            last: nothing may have been received behind it, as Squid checks too; false for pipelined requests.

        Raises: ReplyError for anything that is not exactly a reply.
        """
        lines = self._read_head()
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise ReplyError(f"not an ICAP status line: {lines[0]!r}")
        reply = Reply(int(match[1]), match[2].decode(), [_header(line) for line in lines[1:]])
        encapsulated = reply.header("Encapsulated")
        if encapsulated is not None:
            self._read_encapsulated(reply, encapsulated)
        if last and self._received:
            raise ReplyError(f"bytes after the reply: {bytes(self._received[:200])!r}")
        return reply

    def read_until_closed(self) -> bytes:
        """Everything the server still sends until it closes; empty when it just closes."""
        while self._receive():
            pass
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_encapsulated(self, reply: Reply, value: str) -> None:
        sections = []
        for part in value.split(","):
            match = _SECTION.fullmatch(part.strip())
            if match is None:
                raise ReplyError(f"Encapsulated: {value!r}")
            sections.append((match[1], int(match[2])))
        names, offsets = [name for name, _ in sections], [offset for _, offset in sections]
        well_formed = offsets[0] == 0 and offsets == sorted(set(offsets)) and names[-1].endswith("-body")
        if not well_formed or any(name.endswith("-body") for name in names[:-1]):
            raise ReplyError(f"Encapsulated: {value!r}")
        for (name, start), end in zip(sections, offsets[1:], strict=False):
            block = self._read_exactly(end - start)
            if not block.endswith(b"\r\n\r\n") or b"\r\n\r\n" in block[:-4]:
                raise ReplyError(f"{name} is not one header block: {block!r}")
            reply.sections[name] = block
        reply.body_kind = names[-1]
        if reply.body_kind != "null-body":
            self._read_body(reply)

    def _read_body(self, reply: Reply) -> None:
        pieces = []
        while True:
            match = _CHUNK_LINE.fullmatch(line := self._read_line())
            if match is None:
                raise ReplyError(f"not a chunk-size line: {line!r}")
            size = int(match[1], 16)
            if size == 0:
                reply.last_chunk_extension = match[2].decode()
                break
            data = self._read_exactly(size + 2)
            if data[-2:] != b"\r\n":
                raise ReplyError(f"a chunk of {size} bytes ends in {data[-2:]!r}")
            pieces.append(data[:-2])
        while trailer := self._read_line():
            reply.trailers.append(trailer)
        reply.body = b"".join(pieces)

    def _read_head(self) -> list[bytes]:
        lines = [self._read_line()]
        while line := self._read_line():
            if line.startswith(b"\t") and lines[-1].startswith(b"X-Violations-Found:"):
                lines[-1] += b" " + line[1:]  # the one header whose readers want it folded
            else:
                lines.append(line)
        return lines

    def _read_line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._receive_more()
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        if b"\n" in line or b"\r" in line:
            raise ReplyError(f"a bare CR or LF: {line!r}")
        return line

    def _read_exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive_more()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _receive(self) -> bool:
        data = self._socket.recv(READ_BYTES)
        self._received += data
        return bool(data)

    def _receive_more(self) -> None:
        if not self._receive():
            raise ReplyError(f"closed in the middle of a reply, after {bytes(self._received[-200:])!r}")


def _header(line: bytes) -> tuple[str, str]:
    match = _HEADER_LINE.fullmatch(line)
    if match is None:
        raise ReplyError(f"not a header line: {line!r}")
    return match[1].decode(), match[2].decode("latin-1")
