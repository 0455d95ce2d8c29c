"""A lazy look into encapsulated HTTP heads. They stay bytes and go back as they came; this only reads.

Peers choose these bytes: every answer is a plain value or its absence, never an error. Receivers read a broken head
each in their own way, so what can be read in several ways is answered with what makes the judgement stricter.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

import msgspec

from icapd.icap.head import HeaderLines

_REQUEST_LINE = re.compile(rb"([!-~]{1,64}) ([!-~\x80-\xff]+)(?: HTTP/[0-9.]{1,4})?[ \t]*\r\n")
_PLAIN_REQUEST_LINE = re.compile(
    rb"([A-Z]{1,16}) (https?)://([A-Za-z0-9.-]{1,255})(?::([0-9]{1,5}))?(/[!\x24-\x3e\x40-~]{0,1024})"
    rb"(?:\?[!\x24-~]*)? HTTP/1\.[01]\r\n"
)
"""What nearly all gateways send: an absolute URL in plain characters."""
_STATUS_LINE = re.compile(rb"(?:HTTP/[0-9.]{1,4}|ICY) ([0-9]{3})(?:[ \t]|\r)")
_URL = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^/?#]*)([^?#]*)")
_PORT = re.compile(rb":([0-9]{1,5})$")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LENGTH = re.compile(rb"[0-9]{1,18}")
_TEXT_MAX = 2048
_PLAIN = "".join(char for char in map(chr, range(0x21, 0x7F)) if char not in "%?#")
"""What stands for itself in a path."""
PADDED_BYTES_MAX: Final = 32 * 1024
"""Longer paths are read as they are: servers take 8 to 16 KB, and reading takes time."""

MALFORMED: Final = "malformed"
"""Stands for Content-Encoding lines of which nobody can say what a receiver makes of them. No decoder has this name,
so the body is reported as unsupported."""

_CODING_NAME = b"content-encoding"
_CODING = re.compile(rb"content-encoding[^!-~]*:")
_CODING_LINE = re.compile(rb"(?<=[\t\x20-\xff]\r\n)content-encoding:")
_CODING_BYTES_MAX = 256
_CODINGS_MAX = 8
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TYPE = re.compile(rb"content-type[^!-~]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")
_VISIBLE = frozenset(range(0x21, 0x7F))
_BLANKS_MAX = 64
_CACHED_BYTES_MAX = 256


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    """The request line as the gateway saw it. `host` is lower case, `port` empty when not given, and
    `path` has no query."""

    method: str = ""
    scheme: str = ""
    host: str = ""
    path: str = ""
    port: str = ""

    @property
    def extension(self) -> str:
        """Of the path's last segment, lower case, without the dot and path parameters; empty when there is none.

        Read as the receiver will name the file: percent-decoded once, without the dots and spaces at its end.
        """
        path = self.path
        dot = path.rfind(".")
        last = path[dot + 1 :]
        if "%" not in path and last.isalnum() and path.rfind("/") + 1 < dot:  # what nearly all are
            return last.lower() if len(last) <= 16 else ""
        name = unquote(self.file_name).rstrip(". ")
        end = name.find(";", max(name.rfind("."), 0))  # `/setup.exe;v=1` serves an .exe
        stem, has_dot, extension = (name if end < 0 else name[:end].rstrip(". ")).rpartition(".")
        return extension.lower() if has_dot and stem and len(extension) <= 16 else ""

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Without user information, query and fragment, so that it can be logged."""
        if not self.host:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port and self.port != _DEFAULT_PORTS.get(self.scheme):
            host = f"{host}:{self.port}"
        return f"{self.scheme or 'http'}://{host}{self.path}"


NO_REQUEST = HttpRequest()


def _text(raw: bytes) -> str:
    return raw[:_TEXT_MAX].decode("utf-8", "backslashreplace")


def read_request(head: bytes) -> HttpRequest:
    """The request line and host of an encapsulated HTTP request head; NO_REQUEST when it is not one."""
    plain = _PLAIN_REQUEST_LINE.match(head)
    if plain is not None:
        method, scheme, host, port, path = plain.groups()
        return HttpRequest(method.decode(), scheme.decode(), _bare_host(host), path.decode(), (port or b"").decode())
    match = _REQUEST_LINE.match(head)
    if match is None:
        return NO_REQUEST
    method, target = match.groups()
    if method == b"CONNECT":
        return HttpRequest("CONNECT", "https", _host(target), "", _port(target))
    url = _URL.match(target)
    if url is None or target.startswith(b"/") or target == b"*":
        path = target.partition(b"?")[0].partition(b"#")[0] if target != b"*" else b""
        authority = HeaderLines(head).value(b"host") or b""
        return HttpRequest(_text(method), "", _host(authority), _path(path), _port(authority))
    scheme, _, authority, path = url.groups()
    return HttpRequest(
        _text(method), _text(scheme or b"").lower(), _host(authority), _path(path) or "/", _port(authority)
    )


def request_target(head: bytes) -> bytes:
    """The target of an encapsulated request line as it came, query and all."""
    start = head.find(b" ") + 1
    end = min(filter((-1).__lt__, (head.find(b" ", start), head.find(b"\r", start))), default=start)
    return head[start:end]


def _path(raw: bytes) -> str:
    """A path with its end, which has the file's name. What is too long loses its middle, and padding before that."""
    if _TEXT_MAX < len(raw) <= PADDED_BYTES_MAX:
        raw = _unpadded(raw)
    if len(raw) > _TEXT_MAX:
        raw = raw[: _TEXT_MAX // 2 - 3] + b"..." + raw[-_TEXT_MAX // 2 :]
    return _text(raw)


def _unpadded(path: bytes) -> bytes:
    """The path as an origin reads it, percent-encoded only where it must be: nothing that counts is pushed out of
    sight by `./` and the like."""
    plain = posixpath.normpath(b"/" + unquote_to_bytes(path).lstrip(b"/"))
    end = b"/" if path.endswith(b"/") and plain != b"/" else b""
    return quote_from_bytes(plain + end, safe=_PLAIN).encode()


def _port(authority: bytes) -> str:
    match = _PORT.search(authority)
    return "" if match is None else match[1].decode()


def _host(authority: bytes) -> str:
    """The host of `user:password@host:port`; the user part goes first, as it must not push the host out of reach."""
    return _bare_host(authority.rpartition(b"@")[2].strip(b" \t")[:_TEXT_MAX])


@lru_cache(maxsize=1024)
def _bare_host(name: bytes) -> str:
    if name.startswith(b"["):
        return _text(name[1:].partition(b"]")[0]).lower()
    return _text(name.partition(b":")[0]).lower().rstrip(".")


def read_status(head: bytes) -> int:
    """The status code of an encapsulated HTTP response head; 0 when it is not one."""
    if not head:
        return 0
    match = _STATUS_LINE.match(head)
    return 0 if match is None else int(match[1])


@lru_cache(maxsize=1024)
def _media_type(value: bytes) -> str:
    return _text(value.partition(b";")[0].strip(b" \t")).lower()


def _types(value: bytes) -> tuple[str, ...]:
    values = (_text(part.partition(b";")[0].strip(b" \t\r\n")).lower() for part in value.split(b","))
    return tuple(dict.fromkeys(filter(None, values)))


_cached_types = lru_cache(maxsize=1024)(_types)


def _is_ambiguous(lowered: bytes) -> bool:
    """Whether a line of a head would be a Content-Encoding to one receiver and not to another.

    As with a space before the colon, after a bare CR or LF, as the folded end of another line, below the empty line.
    """
    start = lowered.find(_CODING_NAME)
    while start >= 0:
        if _CODING_LINE.match(lowered, start) is None and _CODING.match(lowered, start) is not None:
            before = lowered[max(start - _BLANKS_MAX, 0) : start].rstrip(b" \t")
            if not before or before[-1] < 0x20 or before[-1] == 0x7F:
                return True
        start = lowered.find(_CODING_NAME, start + len(_CODING_NAME))
    return False


@lru_cache(maxsize=256)
def _codings(value: bytes) -> str:
    tokens = [token.strip(b" \t").lower() for token in value.split(b",")]
    tokens = [token for token in tokens if token not in (b"", b"identity")]
    if len(tokens) > _CODINGS_MAX or not all(map(_TOKEN.fullmatch, tokens)):
        return MALFORMED
    return b", ".join(tokens).decode()


class HttpHead(HeaderLines):
    """What an encapsulated HTTP head claims about its body."""

    __slots__ = ()

    @property
    def media_type(self) -> str:
        """The media type declared first, lower case, without parameters; empty when none is declared."""
        value = self.value(b"content-type")
        return "" if value is None else _media_type(value[:_TEXT_MAX])

    @property
    def media_types(self) -> tuple[str, ...]:
        """All media types declared, lower case, without parameters: browsers take the last, others the first.

        Spec: Fetch §2.2.2 splits a Content-Type at its commas, over all its lines. Broken lines count as well.
        """
        lowered = self._lower()
        # Searched from its first letter on, which is several times faster than from the end of the line before.
        values = [found[1] for found in _TYPE.finditer(lowered) if lowered[found.start() - 1] not in _VISIBLE]
        value = values[0] if len(values) == 1 else b",".join(values)
        return _cached_types(value) if len(value) <= _CACHED_BYTES_MAX else _types(value)

    @property
    def content_coding(self) -> str:
        """The declared Content-Encoding, lower case, all lines of it as one list; empty for none and for `identity`.

        MALFORMED when it is no list of tokens, too long, or when receivers may differ on whether it is declared.
        """
        lowered = self._lower()
        if _CODING_NAME not in lowered:
            return ""
        if _is_ambiguous(lowered):
            return MALFORMED
        value = self.joined(_CODING_NAME) or b""
        return _codings(value) if len(value) <= _CODING_BYTES_MAX else MALFORMED

    @property
    def content_range(self) -> bytes | None:
        """Which part of something larger the body is declared to be; all lines of it as one list."""
        return self.joined(b"content-range")

    @property
    def content_length(self) -> int | None:
        """The declared Content-Length; None when absent or not a number."""
        value = self.value(b"content-length")
        return None if value is None or _LENGTH.fullmatch(value) is None else int(value)

    def _lower(self) -> bytes:
        if self._lowered is None:
            self._lowered = self.raw.lower()
        return self._lowered
