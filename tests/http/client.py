"""HTTP clients of tests: one that behaves, and the bare socket of one that does not."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any

from tests.support.icapd import Icapd, Table, merged
from tests.support.ports import LOOPBACK, free_port

TOKEN = "correct-horse-battery-staple"
OTHER_TOKEN = "another-token-that-is-good-too"
EICAR_RULE_ALONE: Table = {"engines": {"yara": {"rules": ["conf/rules/eicar.yar"]}}}
BOUNDARY = "frontier"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def said(self, *keys: str) -> tuple[Any, ...]:
        return tuple(self.json[key] for key in keys)


def http_tables(port: int, scheme: str = "http", **keys: Any) -> Table:
    return merged(EICAR_RULE_ALONE, {"http": {"listen": [f"{scheme}://{LOOPBACK}:{port}"], **keys}})


class Server(Icapd):
    """icapd with an HTTP listener."""

    def __init__(self, directory: Any, tables: Table | None = None, scheme: str = "http", **keys: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        tokens = directory / "tokens"
        tokens.write_text(f"# two applications\n{TOKEN}\n\n{OTHER_TOKEN}\n")
        tokens.chmod(0o600)
        self.http_port = free_port()
        keys = {"tokens_file": str(tokens), **keys}
        set_keys = {key: value for key, value in keys.items() if value is not None}
        overrides = http_tables(self.http_port, scheme, **set_keys)
        super().__init__(directory, merged(overrides, tables or {}))

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection((LOOPBACK, self.http_port), TIMEOUT_S)


def headers_of(token: str | None = TOKEN, **fields: str) -> dict[str, str]:
    """Header fields, `_` for `-`; with the token where there is one."""
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    return fields if token is None else {"Authorization": f"Bearer {token}", **fields}


def ask(
    server: Server,
    body: bytes | Iterable[bytes] | None,
    target: str = "/scan",
    *,
    method: str = "POST",
    token: str | None = TOKEN,
    tls: ssl.SSLContext | None = None,
    **fields: str,
) -> Answer:
    """One request on a connection of its own. A body that is no bytes goes out chunked."""
    connection: HTTPConnection
    if tls is None:
        connection = HTTPConnection(LOOPBACK, server.http_port, timeout=TIMEOUT_S)
    else:
        connection = HTTPSConnection(LOOPBACK, server.http_port, timeout=TIMEOUT_S, context=tls)
    try:
        connection.request(method, target, body, headers_of(token, **fields))
        return taken(connection.getresponse())
    finally:
        connection.close()


def taken(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def form(*parts: tuple[str, bytes], boundary: str = BOUNDARY) -> bytes:
    """A multipart upload: file names and contents."""
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts
    ]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()])


def form_type(boundary: str = BOUNDARY) -> str:
    return f"multipart/form-data; boundary={boundary}"


def head(length: int | None, target: str = "/scan", *lines: str) -> bytes:
    """A request head for a bare connection; chunked where no length is given."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    all_lines = (f"POST {target} HTTP/1.1", "Host: icapd", f"Authorization: Bearer {TOKEN}", framing, *lines)
    return "".join(f"{line}\r\n" for line in (*all_lines, "")).encode()


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a bare connection, and no byte of the one behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {head!r}"
        head += byte
    status_line, *lines = head.decode().split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body)) or _cut_off()
    return Answer(int(status_line.split()[1]), headers, body)


def _cut_off() -> bytes:
    raise AssertionError("the connection ended in the middle of a body")


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a reset is an end, too."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionError:
        pass
    return b"".join(pieces)
