"""A front's net layer in the test's own process: real parts, a clock to be moved, a wire that keeps what is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from icapd.cache.flight import SingleFlight
from icapd.cache.memcached import Reactor as CacheReactor
from icapd.cache.tiers import VerdictCache
from icapd.config.policies import compile_policies
from icapd.config.schema import Settings
from icapd.net.gateway import Gateway
from icapd.net.listen import IcapFactory
from icapd.net.protocol import IcapProtocol
from icapd.net.replies import Pages
from icapd.net.services import ServiceTable
from icapd.observe.access import AccessLog
from icapd.observe.log import EventLog
from icapd.observe.metrics import Counters
from icapd.policy.page import BlockPage
from icapd.reactor import Reactor
from icapd.scan.pipeline import Pipeline
from icapd.scan.spool import Spool
from tests.support.scans import HeldScans


class Wire:
    """A transport whose other end takes everything at once."""

    connected = True
    disconnecting = False
    producer: object = None
    dataBuffer = b""
    _tempDataBuffer: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.sent = b""
        self.is_aborted = False
        self.is_paused = False
        self.protocol: IcapProtocol | None = None
        self.socket = SimpleNamespace(family=1, send=self._take)

    def _take(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def write(self, data: bytes) -> None:
        self.sent += data

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self._end()

    def loseWriteConnection(self) -> None:
        """The client may still send."""

    def stopReading(self) -> None:
        """Tests feed no faster than they want to."""
        self.is_paused = True

    def startReading(self) -> None:
        """The same."""
        self.is_paused = False

    def abortConnection(self) -> None:
        self.is_aborted = True
        self._end()

    def _end(self) -> None:
        if self.connected and self.protocol is not None:
            self.connected = False
            self.protocol.connectionLost()


class Inside:
    """State: `clock`, which the gateway and the drips go by; `events`, the event log's lines, and `access`, those of
    the access log as far as it is flushed."""

    def __init__(self, required: Mapping[str, bool] = MappingProxyType({}), **tables: Any) -> None:
        settings = Settings(**tables)
        self.clock = Clock()
        self.clock.advance(1000)
        self.scans = HeldScans()
        self.spool = Spool(settings.spool)
        self.counters = Counters()
        self.events: list[bytes] = []
        self.access: list[bytes] = []
        reactor = cast(Reactor, self.clock)
        cache = VerdictCache(settings.cache, os.urandom(32), cast(CacheReactor, self.clock))
        pipeline = Pipeline(cache, SingleFlight(), self.scans, self.counters, 25.0, 0.5, self.clock.seconds)
        self.gateway = Gateway(
            reactor,
            settings,
            ServiceTable(settings, compile_policies(settings), "ruleset", required, b'"istag"'),
            Pages({None: BlockPage("{{ verdict }}", "page")}, ""),
            pipeline,
            self.spool,
            self.counters,
            EventLog("debug", self.events.append, "test"),
            AccessLog(self.access.append, "json"),
            self.clock.seconds,
        )
        self.factory = IcapFactory(self.gateway, ["127.0.0.0/8"], 100)

    def connect(self, data: bytes = b"", wire: Wire | None = None) -> Wire:
        """A client that has sent this."""
        wire = wire or Wire()
        wire.protocol = self.factory.buildProtocol(cast(Any, IPv4Address("TCP", "127.0.0.1", 1)))
        assert wire.protocol is not None
        wire.protocol.transport = wire
        wire.protocol.connectionMade()
        if data:
            wire.protocol.dataReceived(data)
        return wire

    @property
    def internal_errors(self) -> int:
        return len([line for line in self.events if b'"event":"internal-error"' in line])
