"""A SOCK_SEQPACKET socket in the reactor: packets in, packets out, descriptors beside them.

Used towards fronts, nurseries and scanners. Nothing is queued: a channel that does not take a packet is lost, as its
other side has at most one packet outstanding.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from icapd.reactor import Reactor
from icapd.worker.packets import receive, send


@implementer(IReadDescriptor)
class PacketChannel:
    """One end of a channel in a reactor.

    `on_packet(data, descriptors)` owns the descriptors; `on_lost()` is called once, when the other side is gone.
    """

    def __init__(
        self,
        reactor: Reactor,
        end: socket.socket,
        on_packet: Callable[[bytes, list[int]], None],
        on_lost: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._reactor = reactor
        self._end = end
        self._on_packet = on_packet
        self._on_lost = on_lost
        self._is_open = True
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._end.fileno()

    def logPrefix(self) -> str:
        return "channel"

    def doRead(self) -> None:
        """One packet a turn, so that no channel starves the others."""
        try:
            data, descriptors = receive(self._end)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if data:
            self._on_packet(data, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self._lose()

    def send(self, parts: Sequence[bytes | memoryview], descriptors: Sequence[int] = ()) -> bool:
        """Sends one packet; False, and the channel is lost, when it does not go."""
        if not self._is_open:
            return False
        try:
            send(self._end, parts, descriptors)
        except OSError:
            self._lose()
            return False
        return True

    def close(self) -> None:
        """Closes our end without calling `on_lost`."""
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._end.close()

    def connectionLost(self, reason: object) -> None:
        """The reactor's word that the descriptor is gone."""
        self._lose()

    def _lose(self) -> None:
        if self._is_open:
            self.close()
            self._on_lost()
