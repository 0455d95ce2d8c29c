"""The HTTP listener: `POST /scan` for what cannot speak ICAP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field

from icapd.config.address import parse_http
from icapd.config.schema.base import MiB, Network, Table
from icapd.config.schema.services import Service
from icapd.config.schema.serving import PolicyName

SCAN_PATH = "/scan"


def _listen(text: str) -> str:
    parse_http(text)
    return text


class Http(Table):
    listen: list[Annotated[str, AfterValidator(_listen)]] = Field(
        [],
        examples=[["http://127.0.0.1:8344"]],
        description="where POST /scan is served: http://HOST:PORT or https://HOST:PORT; empty switches it off",
    )
    tokens_file: str | None = Field(
        None,
        examples=["/etc/icapd/http.tokens"],
        description="one bearer token a line, each of 20 characters or more; closed to other users of this machine",
    )
    certificate: str | None = Field(
        None, examples=["/etc/icapd/http.crt"], description="PEM, with its chain behind it; https needs it"
    )
    private_key: str | None = Field(
        None, examples=["/etc/icapd/http.key"], description="PEM, of the certificate, without a passphrase"
    )
    client_ca: str | None = Field(
        None,
        examples=["/etc/icapd/http-clients.pem"],
        description="PEM; over https only clients with a certificate of one of these authorities are served",
    )
    insecure_no_token: bool = Field(
        False, description="serve whoever connects, without token or client certificate; on loopback only"
    )
    allow_clients: list[Network] = Field(
        ["127.0.0.0/8", "::1/128"],
        description="networks that may connect; others are closed without an answer",
    )
    max_connections: int = Field(1000, ge=1, description="HTTP connections over all fronts; more are closed at once")
    max_body_bytes: int | None = Field(
        None, ge=1, examples=[100 * MiB], description="ceiling of one file; unset = limits.body_bytes"
    )
    max_files: int = Field(32, ge=1, le=1000, description="parts of one multipart upload")
    engines: list[str] | None = Field(
        None, examples=[["yara"]], description="only these engines; unset = all that are enabled"
    )
    policy: PolicyName | None = Field(None, examples=["strict"], description="unset = server.policy")

    @property
    def service(self) -> Service:
        """The same as a service, so that it is judged as one."""
        return Service(path=SCAN_PATH, engines=self.engines, policy=self.policy, max_body_bytes=self.max_body_bytes)


class HttpFiles(msgspec.Struct, frozen=True):
    """What the files of `[http]` hold: SHA-256 digests of tokens, PEM for the others. Empty where there is none."""

    token_digests: list[bytes] = []
    certificate: bytes = b""
    private_key: bytes = b""
    client_ca: bytes = b""
