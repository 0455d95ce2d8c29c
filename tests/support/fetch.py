"""An HTTP client that goes through a proxy and knows whether what it got was whole."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.support.ports import LOOPBACK

READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as the user's browser would see it."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    is_whole: bool
    """False: the connection ended before the body did, which a browser shows as a failed download."""


def fetch(
    proxy_port: int,
    url: str,
    *,
    method: str = "GET",
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    on_head: Callable[[], object] = lambda: None,
) -> Answer:
    """Ask the proxy on loopback for the URL.

    Args:
        body: an iterable goes out chunked, without Content-Length.
        on_head: called when the answer's head is there, before its body is read.
    """
    connection = http.client.HTTPConnection(LOOPBACK, proxy_port, timeout=60)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        sent = dict(headers or {})
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
        connection.request(method, url, body=body, headers=sent, encode_chunked=chunked)
        response = connection.getresponse()
        on_head()
        received, is_whole = _read(response)
        lengths = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lengths, received, is_whole)
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    pieces = []
    try:
        while piece := response.read(READ_BYTES):
            pieces.append(piece)
    except http.client.IncompleteRead as cut:
        pieces.append(cut.partial)
        return b"".join(pieces), False
    except ConnectionError:
        return b"".join(pieces), False
    # read() with a size gives what there is at an early end, and no error: what is missing tells.
    return b"".join(pieces), not response.length
