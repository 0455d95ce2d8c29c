"""Accepts HTTP clients, over TCP and over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from icapd.config.schema import Http, HttpFiles
from icapd.net.http_access import Tokens
from icapd.net.http_protocol import HttpProtocol
from icapd.net.listen import Clients

if TYPE_CHECKING:
    from twisted.internet.ssl import CertificateOptions
    from twisted.protocols.tls import TLSMemoryBIOFactory

    from icapd.net.gateway import Gateway


class HttpClients(Clients[HttpProtocol]):
    """All HTTP clients of a front, whichever listener they came by.

    State: `_tokens` and `_context` in force; connections that are open keep their TLS session, not their token.
    """

    section = "http"

    def __init__(self, gateway: Gateway, http: Http, max_connections: int, files: HttpFiles) -> None:
        super().__init__(gateway, http.allow_clients, max_connections)
        self._guard_with(files)

    def _guard_with(self, files: HttpFiles) -> None:
        self._tokens = Tokens(files.token_digests)
        pem = files.certificate, files.private_key, files.client_ca
        self._context: CertificateOptions | None = None
        if files.certificate:
            from icapd.net.http_tls import tls_context  # brings OpenSSL along

            self._context = tls_context(*pem)

    def follow(self, gateway: Gateway, http: Http, max_connections: int, files: HttpFiles) -> None:
        """A reload: other tokens count from the next request on, another certificate from the next connection on."""
        self._guard_with(files)
        self.reload(gateway, http.allow_clients, max_connections)

    def listener(self, reactor: Any, *, is_tls: bool) -> Factory:
        """The factory for one listening socket."""
        return _TlsListener(self, reactor) if is_tls else _PlainListener(self)

    def admit(self, addr: IAddress | None, *, is_tls: bool) -> HttpProtocol | None:
        """A protocol for one more client; None closes the connection at once."""
        peer = self._admit(addr)
        if peer is None:
            return None
        protocol = HttpProtocol(self._gateway, peer, lambda: self._tokens, is_tls, self.connections.discard)
        self.connections.add(protocol)
        return protocol

    def context(self) -> CertificateOptions:
        """The TLS context in force."""
        if self._context is None:
            raise ValueError("https without a certificate")
        return self._context


class _PlainListener(Factory):
    noisy = False

    def __init__(self, clients: HttpClients) -> None:
        self._clients = clients

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._clients.admit(addr, is_tls=False)


class _TlsListener(Factory):
    noisy = False

    def __init__(self, clients: HttpClients, reactor: Any) -> None:
        self._clients = clients
        self._reactor = reactor
        self._wrapping: tuple[CertificateOptions, TLSMemoryBIOFactory] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A client that is admitted, behind TLS by the context in force."""
        protocol = self._clients.admit(addr, is_tls=True)
        if protocol is None:
            return None
        context = self._clients.context()
        if self._wrapping is None or self._wrapping[0] is not context:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            self._wrapping = context, TLSMemoryBIOFactory(cast(Any, context), False, cast(Any, self), self._reactor)
        factory = self._wrapping[1]
        return factory.protocol(factory, protocol)
