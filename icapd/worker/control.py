"""The control socket: how `icapd reload` and `icapd shadow` reach the server of this machine, and what it answers.

It is an abstract Unix socket, named after the admin address: as unique as that, reached without any file, gone with
its server, and out of reach of web pages and of other machines. Who connects must be the server's own user, or root.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from icapd.config.address import Endpoint
from icapd.reactor import Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.frames import (
    AskReload,
    AskShadow,
    ReloadEnded,
    ShadowReport,
    decode_ask,
    decode_ended,
    decode_shadow_report,
    encode,
)
from icapd.worker.packets import receive, send

_CONNECTIONS_MAX = 16
_BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")


def control_address(admin: Endpoint) -> str:
    """The name of the control socket of the server whose admin endpoints are there. Raises: OSError."""
    address = socket.getaddrinfo(admin.host, admin.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
    return control_name(address)


def control_name(address: Sequence[object]) -> str:
    """The same from the address that a socket is bound to."""
    host, port = address[:2]
    return f"\0icapd/{host}:{port}"


def open_control(address: str) -> socket.socket:
    """Raises: OSError when somebody has the name already."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def ask_reload(address: str, patience_s: float) -> ReloadEnded:
    """Asks a server to reload and waits for the end. Raises: as `_ask`."""
    return decode_ended(_ask(address, AskReload(), patience_s))


def ask_shadow(address: str, patience_s: float) -> ShadowReport:
    """Asks a server what it tries, and what has come of it. Raises: as `_ask`."""
    return decode_shadow_report(_ask(address, AskShadow(), patience_s))


def _ask(address: str, message: AskReload | AskShadow, patience_s: float) -> bytes:
    """The server's answer.

    Raises: ConnectionRefusedError when no server is there, PermissionError when it is another user's, TimeoutError,
    OSError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(patience_s)
        asking.connect(address)
        if not _is_trusted(asking) and os.geteuid() != 0:
            raise PermissionError(errno.EPERM, "the server there belongs to another user")
        send(asking, [encode(message)])
        packet, descriptors = receive(asking)
    for descriptor in descriptors:
        os.close(descriptor)
    if not packet:
        raise PermissionError(errno.EPERM, "the server hung up: it belongs to another user, or was stopped")
    return packet


def _is_trusted(connected: socket.socket) -> bool:
    """Whether the other side runs as our user, or as root."""
    packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(packed)
    return uid in (0, os.geteuid())


@implementer(IReadDescriptor)
class ControlSocket:
    """State: `_channels`, those who wait for an answer."""

    def __init__(
        self,
        reactor: Reactor,
        listener: socket.socket,
        reload: Callable[[], Deferred[ReloadEnded]],
        report_shadow: Callable[[], Deferred[ShadowReport]],
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._reload = reload
        self._report_shadow = report_shadow
        self._channels: set[PacketChannel] = set()
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._listener.fileno()

    def logPrefix(self) -> str:
        return "control"

    def doRead(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        if len(self._channels) >= _CONNECTIONS_MAX or not _is_trusted(accepted):
            accepted.close()
            return
        channel = PacketChannel(
            self._reactor,
            accepted,
            lambda packet, descriptors: self._on_packet(channel, packet, descriptors),
            lambda: self._channels.discard(channel),
        )
        self._channels.add(channel)

    def _on_packet(self, channel: PacketChannel, packet: bytes, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            asked = decode_ask(packet)
        except msgspec.MsgspecError:
            self._close(channel)
            return
        match asked:
            case AskReload():
                self._reload().addCallback(self._answer, channel)
            case AskShadow():
                self._report_shadow().addCallback(self._answer, channel)

    def _answer(self, answer: ReloadEnded | ShadowReport, channel: PacketChannel) -> None:
        if channel in self._channels:
            channel.send([encode(answer)])
            self._close(channel)

    def _close(self, channel: PacketChannel) -> None:
        self._channels.discard(channel)
        channel.close()

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._listener.close()

    def connectionLost(self, reason: object) -> None:
        """The reactor's word that the descriptor is gone."""
