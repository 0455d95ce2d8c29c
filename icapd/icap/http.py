"""A lazy look into encapsulated HTTP heads. They stay bytes and go back as they came; this only reads.

Peers choose these bytes: every answer is a plain value or its absence, never an error.
"""

from __future__ import annotations

import re
from functools import lru_cache

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
        """Of the path's last segment, lower case, without the dot and path parameters; empty when there is none."""
        stem, dot, extension = self.file_name.rpartition(".")
        extension = extension.partition(";")[0]  # `/setup.exe;v=1` serves an .exe
        return extension.lower() if dot and stem and len(extension) <= 16 else ""

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Without user information, query and fragment, so that it can be logged."""
        if not self.host:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in ("", _DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme or 'http'}://{host}{port}{self.path}"


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
        return HttpRequest(_text(method), "", _host(authority), _text(path), _port(authority))
    scheme, _, authority, path = url.groups()
    return HttpRequest(
        _text(method), _text(scheme or b"").lower(), _host(authority), _text(path) or "/", _port(authority)
    )


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


class HttpHead(HeaderLines):
    """What an encapsulated HTTP head claims about its body."""

    __slots__ = ()

    @property
    def media_type(self) -> str:
        """The declared media type, lower case, without parameters; empty when none is declared."""
        value = self.value(b"content-type")
        return "" if value is None else _media_type(value[:_TEXT_MAX])

    @property
    def content_coding(self) -> str:
        """The declared Content-Encoding, lower case, all lines of it; empty for none and for `identity`."""
        value = self.joined(b"content-encoding")
        coding = "" if value is None else _text(value).lower()
        return "" if coding == "identity" else coding

    @property
    def content_length(self) -> int | None:
        """The declared Content-Length; None when absent or not a number."""
        value = self.value(b"content-length")
        return None if value is None or _LENGTH.fullmatch(value) is None else int(value)
