"""Accepts clients: who may connect, how many, and the sweep that ends what takes too long."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from icapd.net.link import LOCAL
from icapd.net.protocol import IcapProtocol
from icapd.net.surplus import SurplusProtocol
from icapd.observe.log import EventName

if TYPE_CHECKING:
    from icapd.net.gateway import Gateway


class Connected(Protocol):
    """A client's connection as its factory sees it."""

    transport: Any
    peer: str
    deadline: float

    def timed_out(self) -> None: ...

    def close_when_idle(self) -> None: ...

    def break_off(self) -> None: ...

    def may_be_judged_before(self, gateway: Gateway) -> bool: ...


C = TypeVar("C", bound=Connected)
_SURPLUS_MAX = 32
"""Clients past the limit that are told so at a time; more are closed without an answer."""


class Clients(Generic[C]):
    """State: `connections`, the open ones, in no order; `_surplus`, those past the limit, until they are closed.

    `section` is that of the keys that say who may connect.
    """

    section = "server"

    def __init__(self, gateway: Gateway, allow_clients: list[str], max_connections: int) -> None:
        self.connections: set[C] = set()
        self._surplus: set[C] = set()
        self._serve_by(gateway, allow_clients, max_connections)

    def _serve_by(self, gateway: Gateway, allow_clients: list[str], max_connections: int) -> None:
        self._gateway = gateway
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in allow_clients)
        self._max_connections = max_connections
        self._may_connect = lru_cache(maxsize=4096)(self._is_allowed)

    def reload(self, gateway: Gateway, allow_clients: list[str], max_connections: int) -> None:
        """New requests are the new gateway's. Who may connect no more is closed to after the answer under way."""
        self._serve_by(gateway, allow_clients, max_connections)
        for protocol in list(self.connections):
            if protocol.peer != LOCAL and not self._may_connect(protocol.peer):
                protocol.close_when_idle()

    def is_judging_before(self, gateway: Gateway) -> bool:
        """Whether a body may still be judged by what was in force before this gateway."""
        return any(protocol.may_be_judged_before(gateway) for protocol in self.connections)

    def _admit(self, addr: IAddress | None) -> str | None:
        """The name of one more client; None for one whose connection is to be closed at once."""
        peer = self._peer(addr)
        return peer if peer is not None and self._has_room_for(peer) else None

    def _peer(self, addr: IAddress | None) -> str | None:
        """The name of a client that may connect."""
        peer: str = getattr(addr, "host", None) or LOCAL
        if peer != LOCAL and not self._may_connect(peer):
            self._refused(peer, "address", "not in {}.allow_clients")
            return None
        return peer

    def _has_room_for(self, peer: str) -> bool:
        if len(self.connections) >= self._max_connections:
            self._refused(peer, "max_connections", "{}.max_connections")
            return False
        self._gateway.counters.add("icapd_connections_total")
        return True

    def _refused(self, peer: str, label: str, reason: str) -> None:
        self._gateway.counters.add("icapd_connections_refused_total", (label,))
        self._gateway.log.event(EventName.CLIENT_REFUSED, peer=peer, reason=reason.format(self.section))

    def _is_allowed(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def sweep(self) -> None:
        """Ends the phases that are past their time."""
        now = self._gateway.now()
        for protocol in [each for each in chain(self.connections, self._surplus) if each.deadline <= now]:
            try:
                protocol.timed_out()
            except Exception:  # the border: an error of ours ends this connection, not the sweep of all others
                self._gateway.internal_error(Failure())
                protocol.transport.abortConnection()

    def drain(self) -> None:
        """Idle connections end now, busy ones after their answer."""
        self._gateway.is_draining = True
        for protocol in list(self.connections):
            protocol.close_when_idle()

    def cut_off(self) -> None:
        """Ends what is still open."""
        for protocol in list(self.connections):
            protocol.break_off()


class IcapFactory(Clients[IcapProtocol], Factory):
    """ICAP clients."""

    noisy = False

    def reload(self, gateway: Gateway, allow_clients: list[str], max_connections: int) -> None:
        self._gateway.hand_over(gateway)
        super().reload(gateway, allow_clients, max_connections)

    def buildProtocol(self, addr: IAddress | None) -> IcapProtocol | None:
        """A protocol for one more client; None closes the connection at once."""
        peer = self._peer(addr)
        if peer is None:
            return None
        kind, connections = IcapProtocol, self.connections
        if not self._has_room_for(peer):
            if len(self._surplus) >= _SURPLUS_MAX:
                return None
            kind, connections = SurplusProtocol, self._surplus
        protocol = kind(self._gateway, peer, connections)
        connections.add(protocol)
        return protocol
