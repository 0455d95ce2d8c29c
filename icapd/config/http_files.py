"""The files that `[http]` names: read once, for the plan, and checked before that.

Tokens leave this module as digests alone, so that none can get into a log or a plan.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from icapd.config.address import parse_http
from icapd.config.schema import Http, HttpFiles, Settings
from icapd.errors import ConfigurationError, Problem
from icapd.scan.engine_api import open_regular

TOKEN_CHARACTERS_MIN = 20
_FILE_BYTES_MAX = 1024 * 1024
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may be made of. Spec: RFC 6750 §2.1."""


def read_http_files(http: Http, resolve: Callable[[str], Path]) -> HttpFiles:
    """Reads what is configured; nothing where no listener is.

    Raises: ConfigurationError for what cannot be read.
    """
    if not http.listen:
        return HttpFiles()
    problems: list[Problem] = []
    files = {key: _read(key, text, resolve, problems) for key, text in _named(http)}
    tokens = [] if http.tokens_file is None else list(_tokens(files.pop("tokens_file"), problems))
    if problems:
        raise ConfigurationError(problems)
    return HttpFiles([hashlib.sha256(token).digest() for token in tokens], **files)


def wrong_http(settings: Settings, resolve: Callable[[str], Path]) -> Iterator[Problem]:
    """Everything about `[http]` that takes more than one key, or a file, to judge."""
    http = settings.http
    if not http.listen:
        return
    yield from _wrong_listeners(http)
    body_bytes = settings.limits.body_bytes
    if http.max_body_bytes is not None and http.max_body_bytes > body_bytes:
        yield Problem("http.max_body_bytes", f"{http.max_body_bytes} is past limits.body_bytes, {body_bytes}")
    if (http.certificate is None) != (http.private_key is None):
        yield Problem("http", "certificate and private_key go together")
    for key in ("tokens_file", "private_key"):
        if text := getattr(http, key):
            yield from _open_to_all(f"http.{key}", resolve(text))
    try:
        read_http_files(http, resolve)
    except ConfigurationError as error:
        yield from error.problems
    else:
        yield from _wrong_pem(http, resolve)


def _wrong_listeners(http: Http) -> Iterator[Problem]:
    """No listener may serve whoever can reach it: verdicts tell an attacker which variant passes."""
    if http.insecure_no_token and (http.tokens_file or http.client_ca):
        yield Problem("http.insecure_no_token", "is for a listener without tokens_file and without client_ca")
    for index, text in enumerate(http.listen):
        endpoint, is_tls = parse_http(text)
        where = f"http.listen[{index}]"
        if is_tls and http.certificate is None:
            yield Problem(where, "https needs http.certificate and http.private_key")
        if http.client_ca is not None and not is_tls:
            yield Problem(where, "http.client_ca is configured, and without TLS no client shows a certificate")
        elif http.tokens_file is None and http.client_ca is None:
            if not http.insecure_no_token:
                what = "anybody could use it: set http.tokens_file, or https and http.client_ca"
                yield Problem(where, f"{what}; on loopback, http.insecure_no_token")
            elif not _is_loopback(endpoint.host):
                yield Problem(where, f"http.insecure_no_token is for loopback, and {endpoint.host} is not")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(http: Http) -> Iterator[tuple[str, str]]:
    for key in ("tokens_file", "certificate", "private_key", "client_ca"):
        text = getattr(http, key)
        if text is not None:
            yield key, text


def _read(key: str, text: str, resolve: Callable[[str], Path], problems: list[Problem]) -> bytes:
    path = resolve(text)
    try:
        with open_regular(path) as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        problems.append(Problem(f"http.{key}", f"cannot read {path}: {error.strerror}"))
        return b""
    if len(content) > _FILE_BYTES_MAX:
        problems.append(Problem(f"http.{key}", f"{path} has more than {_FILE_BYTES_MAX} bytes"))
        return b""
    return content


def _tokens(content: bytes, problems: list[Problem]) -> Iterator[bytes]:
    """The lines; empty ones and those that begin with # say nothing. A problem names a line, never what is in it."""
    found = 0
    for number, line in enumerate(content.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        found += 1
        if _TOKEN.fullmatch(token) is None or len(token) < TOKEN_CHARACTERS_MIN:
            what = (
                f"line {number} is no token of {TOKEN_CHARACTERS_MIN} characters or more from A-Z a-z 0-9 . _ ~ + / -"
            )
            problems.append(Problem("http.tokens_file", what))
        yield token
    if not found and not problems:
        problems.append(Problem("http.tokens_file", "has no token in it"))


def _open_to_all(where: str, path: Path) -> Iterator[Problem]:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # told by who reads it
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Problem(where, f"{path} is open to every user of this machine; use chmod 0640")


def _wrong_pem(http: Http, resolve: Callable[[str], Path]) -> Iterator[Problem]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if http.certificate is not None and http.private_key is not None:
        try:
            context.load_cert_chain(resolve(http.certificate), resolve(http.private_key), password=_no_passphrase)
        except (ssl.SSLError, ValueError, OSError) as error:
            yield Problem("http.certificate", f"cannot be used with http.private_key: {_reason(error)}")
    if http.client_ca is not None:
        try:
            context.load_verify_locations(resolve(http.client_ca))
        except (ssl.SSLError, OSError) as error:
            yield Problem("http.client_ca", f"holds no certificate: {_reason(error)}")


def _no_passphrase() -> str:
    """Raises: ValueError, as nobody is there to type one."""
    raise ValueError("the key has a passphrase")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
