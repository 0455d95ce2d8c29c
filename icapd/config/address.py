"""Addresses as the configuration writes them: icap://HOST:PORT, unix:/PATH, http://HOST:PORT, https://HOST:PORT."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

ICAP_PORT = 1344
ICAPS_PORT = 11344
ADMIN_PORT = 9344
HTTP_PORT = 8344


class Endpoint(NamedTuple):
    """`path` is set for a Unix socket; otherwise host and port are."""

    host: str
    port: int
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen(text: str) -> Endpoint:
    """Raises: ValueError for anything but icap://HOST[:PORT] and unix:/PATH."""
    return parse_server(text, "icap", ICAP_PORT)


def parse_server(text: str, scheme: str, default_port: int) -> Endpoint:
    """Raises: ValueError for anything but SCHEME://HOST[:PORT] and unix:/PATH."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 100:
            raise ValueError("unix: wants an absolute path of at most 100 bytes")
        return Endpoint("", 0, path)
    return _host_and_port(text, scheme, default_port)


def parse_admin(text: str) -> Endpoint:
    """Raises: ValueError for anything but http://HOST[:PORT]."""
    return _host_and_port(text, "http", ADMIN_PORT)


def parse_http(text: str) -> tuple[Endpoint, bool]:
    """Returns: the address, and whether TLS is spoken there.

    Raises: ValueError for anything but http://HOST[:PORT] and https://HOST[:PORT].
    """
    is_tls = text.startswith("https:")
    return _host_and_port(text, "https" if is_tls else "http", HTTP_PORT), is_tls


def _host_and_port(text: str, scheme: str, default_port: int) -> Endpoint:
    parts = urlsplit(text)
    if parts.scheme != scheme or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError(f"wants {scheme}://HOST:PORT")
    port = parts.port
    return Endpoint(parts.hostname, default_port if port is None else port)
