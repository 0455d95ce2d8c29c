"""A SOCK_SEQPACKET socket in the reactor: packets in, packets out, descriptors beside them.

Used towards fronts, nurseries and scanners. Nothing is queued: a channel that does not take a packet is lost, as its
other side has at most one packet outstanding.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from icapd.reactor import Reactor
from icapd.worker.frames import PACKET_BYTES_MAX

_DESCRIPTORS_MAX = 4
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends whose buffers take the largest packet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_BYTES_MAX)
    return ours, theirs


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and the descriptors beside it; no bytes at the end of the channel. Raises: OSError."""
    data, ancillary, _flags, _address = end.recvmsg(PACKET_BYTES_MAX, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)


def send(end: socket.socket, parts: Sequence[bytes | memoryview], descriptors: Sequence[int] = ()) -> None:
    """Sends one packet. Raises: OSError, also BlockingIOError when a non-blocking channel is full."""
    ancillary = []
    if descriptors:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors)))
    end.sendmsg(parts, ancillary)


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
