"""`icapd send`: one file to an ICAP server, as a gateway would send it, and what became of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import mimetypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from icapd import PRODUCT
from icapd.cli.console import Output, path_text, printable
from icapd.cli.exchange import Answer, Exchange, ExchangeError, Request
from icapd.cli.exits import Exit
from icapd.cli.verdict import Outcome, read_outcome
from icapd.config.address import ICAP_PORT, Endpoint, parse_listen
from icapd.errors import PeerProtocolError
from icapd.icap.reply import ReplyHead

_SERVICES = {"RESPMOD": "/respmod", "REQMOD": "/reqmod", "OPTIONS": "/respmod"}
_STDIN = "-"


class _UsageError(Exception):
    """What was asked for cannot be done."""


class _Saved:
    """The HTTP body that comes back, in a file. State: the file is made when the first byte comes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def write(self, head: ReplyHead, data: bytes) -> None:
        """Raises: _UsageError when the file cannot be written."""
        if self._path is None:
            return
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._file.write(data)
        except OSError as error:
            raise _UsageError(f"{self._path} cannot be written: {error.strerror}") from error

    @property
    def is_written(self) -> bool:
        return self._file is not None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def run(options: argparse.Namespace) -> int:
    """Returns: 0 allowed, 1 blocked, 2 wrong usage, 3 when no answer could be had."""
    saved = _Saved(options.save)
    try:
        endpoint, service = _target(options)
        _check_files(options)
        with _opened(options) as body:
            request = Request(_head(options, endpoint, service, body), body, options.preview if body else None)
            answer = Exchange(endpoint, options.timeout, saved.write).run(request)
        outcome = read_outcome(answer.head, options.method)
    except (ExchangeError, PeerProtocolError) as error:
        blame = "the server broke the protocol: " if isinstance(error, PeerProtocolError) else ""
        print(f"icapd send: {blame}{printable(str(error))}", file=sys.stderr)
        return Exit.FAILED
    except _UsageError as error:
        print(f"icapd send: {printable(str(error))}", file=sys.stderr)
        return Exit.USAGE
    except OSError as error:
        print(f"icapd send: {printable(path_text(options.file))}: {error.strerror}", file=sys.stderr)
        return Exit.USAGE
    finally:
        saved.close()
    if options.json:
        print(json.dumps(_as_json(options, answer, outcome)))
    else:
        _print(options, answer, outcome, saved)
    if outcome.is_blocked is None:
        return Exit.OK if answer.head.status == 200 else Exit.FAILED
    return Exit.BLOCKED if outcome.is_blocked else Exit.OK


# What is asked


def _target(options: argparse.Namespace) -> tuple[Endpoint, str]:
    """Raises: _UsageError for a URL that names no ICAP server."""
    url, service = options.url, options.service or _SERVICES[options.method]
    try:
        if url.startswith("unix:"):
            return parse_listen(url), _service_path(service)
        parts = urlsplit(url)
        port = ICAP_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise _UsageError(f"{url}: {error}") from error
    if parts.scheme == "icaps":
        raise _UsageError("icaps is not spoken here; connect through a TLS proxy such as stunnel")
    if parts.scheme != "icap" or not parts.hostname or parts.username is not None or parts.fragment:
        raise _UsageError(f"{url} is neither icap://HOST[:PORT][/SERVICE] nor unix:/PATH")
    path = parts.path if parts.path not in ("", "/") else ""
    if path and options.service:
        raise _UsageError("the URL names a service already; leave out --service")
    return Endpoint(parts.hostname, port), _service_path(
        (path or service) + (f"?{parts.query}" if parts.query else "")
    )


def _service_path(text: str) -> str:
    if not text.startswith("/") or not all("!" <= char <= "~" for char in text):
        raise _UsageError(f"{text} is no service; it begins with / and has no spaces, as /respmod")
    return text


def _check_files(options: argparse.Namespace) -> None:
    if options.method == "OPTIONS":
        if options.file or options.preview is not None or options.save:
            raise _UsageError("OPTIONS sends and returns no body: no FILE, --preview or --save")
        return
    if options.file is None:
        raise _UsageError("which FILE? (- for standard input)")
    content_type = options.content_type
    if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
        raise _UsageError("--content-type wants printable ASCII")
    if options.save and options.file != _STDIN and options.save.exists() and options.save.samefile(options.file):
        raise _UsageError("--save would overwrite the file that is sent")


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[BinaryIO | None]:
    """The body; None for OPTIONS. Unbuffered, as a pipe's bytes go on when they come."""
    if options.file is None:
        yield None
        return
    with open(
        0 if options.file == _STDIN else options.file, "rb", buffering=0, closefd=options.file != _STDIN
    ) as body:
        yield body


def _head(options: argparse.Namespace, endpoint: Endpoint, service: str, body: BinaryIO | None) -> bytes:
    """The ICAP head and the encapsulated heads."""
    host = "localhost" if endpoint.is_unix else str(endpoint)
    lines = [f"{options.method} icap://{host}{service} ICAP/1.0", f"Host: {host}", f"User-Agent: {PRODUCT}"]
    http_head = b""
    if body is not None:
        sections = _http_heads(options, body)
        http_head = b"".join(sections.values())
        offset, parts = 0, []
        for name, section in sections.items():
            parts.append(f"{name}={offset}")
            offset += len(section)
        body_name = "req-body" if options.method == "REQMOD" else "res-body"
        lines.append(f"Encapsulated: {', '.join(parts)}, {body_name}={offset}")
        if options.preview is not None:
            lines.append(f"Preview: {options.preview}")
        if not options.no_204:
            lines.append("Allow: 204")
    lines += [*options.header, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + http_head


def _http_heads(options: argparse.Namespace, body: BinaryIO) -> dict[str, bytes]:
    """An upload of the file, or its download, as HTTP would have it."""
    name = "stdin" if options.file == _STDIN else os.path.basename(options.file)
    kind = options.content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    size = os.fstat(body.fileno()).st_size if options.file != _STDIN else None
    about = f"Content-Type: {kind}\r\n" + ("" if size is None else f"Content-Length: {size}\r\n")
    method = "POST" if options.method == "REQMOD" else "GET"
    start = f"{method} http://localhost/{quote(os.fsencode(name))} HTTP/1.1\r\nHost: localhost\r\n"
    if options.method == "REQMOD":
        return {"req-hdr": f"{start}{about}\r\n".encode("ascii")}
    return {"req-hdr": f"{start}\r\n".encode("ascii"), "res-hdr": f"HTTP/1.1 200 OK\r\n{about}\r\n".encode("ascii")}


# What is said


def _print(options: argparse.Namespace, answer: Answer, outcome: Outcome, saved: _Saved) -> None:
    output = Output()
    head = answer.head
    name = options.url if options.file is None else path_text(options.file)
    if outcome.is_blocked is None:
        output.line(f"{name}: {head.status} {head.reason}")
    else:
        output.line(f"{name}: {outcome.text}", "BLOCKED" if outcome.is_blocked else outcome.allowed_as)
    if head.http_status is not None:
        output.line(f"HTTP status {head.http_status}, {answer.received_bytes} bytes came back")
    elif head.is_request:
        output.line(f"the HTTP request came back, {answer.received_bytes} bytes of body")
    output.line(f"ICAP status {head.status} {head.reason}")
    for header, value in head.headers:
        output.line(f"    {header}: {value}")
    output.line(f"{answer.sent_bytes} bytes sent, {answer.elapsed_s * 1000:.1f} ms")
    if options.save and not saved.is_written:
        output.line(f"nothing came back to save in {options.save}" + (": unchanged" if head.status == 204 else ""))


def _as_json(options: argparse.Namespace, answer: Answer, outcome: Outcome) -> dict[str, object]:
    head = answer.head
    return {
        "file": None if options.file is None else path_text(options.file),
        "method": options.method,
        "blocked": outcome.is_blocked,
        **outcome.said._asdict(),
        "icap_status": head.status,
        "icap_reason": head.reason,
        "icap_headers": head.headers,
        "http_status": head.http_status,
        "sent_bytes": answer.sent_bytes,
        "received_bytes": answer.received_bytes,
        "elapsed_ms": round(answer.elapsed_s * 1000, 3),
    }
