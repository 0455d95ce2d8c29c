"""The engine: what the server's OPTIONS say, and which bodies it is asked about."""

from __future__ import annotations

import re
import time
from typing import Any, Final, NamedTuple

from engines.icap_upstream import IcapOptions
from engines.icap_upstream.answers import NAME, report_of, too_large
from engines.icap_upstream.exchange import IcapWire
from engines.icap_upstream.requests import parse_url
from icapd.icap.reply import ReplyHead
from icapd.scan.connections import Connections
from icapd.scan.engine_api import RemoteBody, RemoteFailed
from icapd.scan.model import EngineReport

_IDLE_S: Final = 20.0
_OK: Final = 200
_PREVIEW_BYTES_MAX: Final = 64 * 1024
_NUMBER = re.compile(r"[0-9]{1,9}")
_TEXT_MAX: Final = 200


class _Terms(NamedTuple):
    """What the server's OPTIONS said, and until when that is believed."""

    version: str
    preview_bytes: int | None
    until: float


class IcapEngine:
    """State: connections, between `start` and `stop`; `_terms` once OPTIONS were answered."""

    name = NAME

    def __init__(self, options: IcapOptions, authorities: bytes | None = None) -> None:
        self._options = options
        self._service = parse_url(options.url)
        self._authorities = authorities
        self._wires: Connections[IcapWire] | None = None
        self._probes: Connections[IcapWire] | None = None
        self._terms: _Terms | None = None

    def start(self, reactor: Any) -> None:
        server, timeout_s = self._service.server, self._options.connect_timeout_s
        tls = None
        if self._service.is_tls:
            from engines.icap_upstream.tls import client_tls

            tls = client_tls(server.host, self._authorities)
        self._wires = Connections(reactor, server, IcapWire, self._options.connections, timeout_s, _IDLE_S, tls)
        self._probes = Connections(reactor, server, IcapWire, 1, timeout_s, 0.0, tls)

    def stop(self) -> None:
        for connections in (self._wires, self._probes):
            if connections is not None:
                connections.stop()

    async def probe(self) -> str:
        """The service's name and its ISTag."""
        if self._probes is None:
            raise RemoteFailed("not started")
        self._terms = self._read(await self._probes.ask(lambda wire: wire.options(self._service)))
        return self._terms.version

    async def scan(self, body: RemoteBody, deadline: float) -> EngineReport:
        if self._wires is None:
            raise RemoteFailed("not started")
        if body.size_bytes > self._options.max_bytes:
            return too_large(self._options)
        terms = self._terms
        if terms is None or terms.until < time.monotonic():
            # RFC 3507 §4.10.2: what OPTIONS said holds for a time.
            terms = self._terms = self._read(await self._wires.ask(lambda wire: wire.options(self._service)))
        preview_bytes = terms.preview_bytes
        answer = await self._wires.ask(lambda wire: wire.respmod(self._service, body, preview_bytes))
        return report_of(answer, self._options)

    def _read(self, head: ReplyHead) -> _Terms:
        """Raises: RemoteFailed for a service that cannot be asked."""
        if head.status != _OK:
            raise RemoteFailed(f"OPTIONS are answered by {head.status} {head.reason}"[:_TEXT_MAX])
        methods = head.field("methods")
        if methods is not None and "RESPMOD" not in methods.upper():
            raise RemoteFailed(f"the service takes no RESPMOD, only {methods}"[:_TEXT_MAX])
        preview_bytes = None
        preview = head.field("preview") or ""
        if self._options.preview and _NUMBER.fullmatch(preview):
            preview_bytes = min(int(preview), _PREVIEW_BYTES_MAX)
        version = f"{head.field('service') or ''} {head.field('istag') or ''}"[:_TEXT_MAX]
        return _Terms(version, preview_bytes, time.monotonic() + self._options.probe_s)
