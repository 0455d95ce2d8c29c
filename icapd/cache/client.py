"""pymemcache with bounds: a command takes bounded time and reads a bounded number of bytes, whatever the server does.

Knows memcached's connections; knows nothing of records, threads or breakers.
"""

from __future__ import annotations

import select
import socket
import time

from pymemcache.client.base import Client, PooledClient, normalize_server_spec

from icapd.cache.record import MAX_RECORD_BYTES
from icapd.errors import ConfigurationError, Problem

MAX_REPLY_BYTES = MAX_RECORD_BYTES + 1024
"""The longest record with the lines around it."""

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


class ReplyTooLong(OSError):
    """A server sent more than one command can answer with."""


def server_address(text: str) -> Address:
    """The address in HOST:PORT, [IPv6]:PORT or unix:/PATH.

    Raises: ConfigurationError for a port that cannot be.
    """
    address: Address = normalize_server_spec(text)
    if isinstance(address, tuple) and not 0 < address[1] < 65_536:
        raise ConfigurationError([Problem("cache.memcached.servers", f"{text}: the port must be 1 to 65535")])
    return address


class BoundedSocket:
    """A connection on which a command starts with `sendall` and has `timeout_s` from there, and MAX_REPLY_BYTES for
    each key.

    pymemcache's own time-out is for each `recv`, so a server that sends byte by byte would hold a thread for ever,
    and it reads a value of any length that the server announces.

    State: the socket never blocks; waiting is done by `poll` alone. A socket with a time-out gives the GIL away at
    every change of it and twice in a `recv`, and while the reactor is busy each time costs a switch interval.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._bytes_left = 0
        self._socket = _connect(address, timeout_s)

    def sendall(self, data: bytes) -> None:
        if self._is_out_of_step():
            self._socket.close()
            self._socket = _connect(self._address, self._timeout_s)
        self._deadline = time.monotonic() + self._timeout_s
        # A space stands before every key that a get asks for, and every key may have a record.
        self._bytes_left = MAX_REPLY_BYTES * (data.count(b" ") if data.startswith(b"get ") else 1)
        unsent = memoryview(data)
        while unsent:
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)

    def recv(self, size_bytes: int) -> bytes:
        self._wait(select.POLLIN)
        data = self._socket.recv(size_bytes)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise ReplyTooLong("the reply is too long")
        return data

    def close(self) -> None:
        self._socket.close()

    def _wait(self, event: int) -> None:
        """Past the deadline this still looks once: a reply that is there was delayed by us, not by the server."""
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
            raise TimeoutError("the command took too long")

    def _is_out_of_step(self) -> bool:
        """Whether anything can be read before a command: the end of an idle connection, or a reply to nothing.

        Without this look, a restarted server would fail once for each connection in the pool and be left alone.
        """
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


def _connect(address: Address, timeout_s: float) -> socket.socket:
    if isinstance(address, tuple):
        connected = socket.create_connection(address, timeout_s)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(timeout_s)
            connected.connect(address)
        except OSError:
            connected.close()
            raise
    connected.setblocking(False)
    return connected


class BoundedClient(Client):  # type: ignore[misc]  # pymemcache has no types, so its class is Any
    """A client whose connections are `BoundedSocket`s."""

    def _connect(self) -> None:
        # pymemcache's own tries only the first address of a name: "localhost" fails where memcached listens on
        # 127.0.0.1 and the resolver answers ::1 first.
        self.close()
        self.sock = BoundedSocket(self.server, self.timeout)


class BoundedPool(PooledClient):  # type: ignore[misc]  # pymemcache has no types, so its class is Any
    """Bounded clients of one server, one for each thread that asks at the same time."""

    client_class = BoundedClient

    def __init__(self, address: Address, timeout_s: float, max_connections: int) -> None:
        super().__init__(address, timeout=timeout_s, max_pool_size=max_connections, default_noreply=False)
