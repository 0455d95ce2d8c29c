"""Packets over SOCK_SEQPACKET sockets, with descriptors beside them; blocking, or not as the socket is.

Apart from the reactor's channel, so that nurseries start without loading Twisted.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence

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
