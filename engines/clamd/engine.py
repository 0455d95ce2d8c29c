"""The engine: which bodies clamd is asked about, and how."""

from __future__ import annotations

from typing import Any, Final

from engines.clamd import CLAMD_PORT, ClamdOptions
from engines.clamd.replies import NAME, coded, report_of, too_large
from engines.clamd.session import Session
from icapd.config.address import parse_server
from icapd.scan.connections import Connections
from icapd.scan.engine_api import RemoteBody, RemoteFailed
from icapd.scan.model import NO_CODING, EngineReport

_IDLE_S: Final = 20.0
"""clamd ends a session after 30 s of silence by default; an answer must not meet a question on the way."""
_VERSION_CHARACTERS_MAX: Final = 200
_UNDONE: Final = NO_CODING | {"gzip", "x-gzip"}
"""Codings that clamd undoes itself, as gzip files are archives to it."""


class ClamdEngine:
    """State: connections, between `start` and `stop`. Probes have their own: they must not wait behind scans."""

    name = NAME

    def __init__(self, options: ClamdOptions) -> None:
        self._options = options
        self._server = parse_server(options.address, "tcp", CLAMD_PORT)
        self._by_descriptor = self._server.is_unix and options.transfer == "descriptor"
        self._sessions: Connections[Session] | None = None
        self._probes: Connections[Session] | None = None

    def start(self, reactor: Any) -> None:
        timeout_s = self._options.connect_timeout_s
        self._sessions = Connections(reactor, self._server, Session, self._options.connections, timeout_s, _IDLE_S)
        self._probes = Connections(reactor, self._server, Session, 1, timeout_s, 0.0)

    def stop(self) -> None:
        for connections in (self._sessions, self._probes):
            if connections is not None:
                connections.stop()

    async def probe(self) -> str:
        """As in `ClamAV 1.4.6/27001/Sat Nov 21 03:43:45 2026`: the program, the signatures' number and date."""
        if self._probes is None:
            raise RemoteFailed("not started")
        version = await self._probes.ask(Session.version)
        if not version.startswith("ClamAV "):
            raise RemoteFailed(f"not a version of clamd: {version[:100]!r}")
        return version[:_VERSION_CHARACTERS_MAX]

    async def scan(self, body: RemoteBody, deadline: float) -> EngineReport:
        if self._sessions is None:
            raise RemoteFailed("not started")
        if body.coding not in _UNDONE:
            return coded(body.coding)
        if body.size_bytes > self._options.max_bytes:
            return too_large(self._options)
        if self._by_descriptor:
            answer = await self._sessions.ask(lambda session: session.scan_descriptor(body))
        else:
            answer = await self._sessions.ask(lambda session: session.scan_stream(body))
        return report_of(answer, self._options)
