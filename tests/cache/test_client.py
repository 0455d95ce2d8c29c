"""The bounds on one command, against servers that misbehave, and the addresses that may be configured."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from icapd.cache.client import MAX_REPLY_BYTES, BoundedPool, ReplyTooLong, server_address
from icapd.errors import ConfigurationError
from tests.support.memcached import Memcached

Behaviour = Callable[[socket.socket], None]


@contextmanager
def rogue_server(behave: Behaviour) -> Iterator[tuple[str, int]]:
    """A server that reads one command and then does as told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                try:
                    behave(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(10)
            assert not thread.is_alive()


def value_of(size_bytes: int) -> Behaviour:
    return lambda connection: connection.sendall(b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (size_bytes, b"x" * size_bytes))


def endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 4096)


def byte_by_byte(connection: socket.socket) -> None:
    stop = threading.Event()
    while not stop.wait(0.02):
        connection.sendall(b"V")


AROUND_BYTES = len(b"VALUE k 0 130048\r\n\r\nEND\r\n")


def test_reads_a_reply_of_exactly_the_ceiling() -> None:
    with (
        rogue_server(value_of(MAX_REPLY_BYTES - AROUND_BYTES)) as address,
        closing(BoundedPool(address, 5, 1)) as pool,
    ):
        value = pool.get("k")
    assert len(value) == MAX_REPLY_BYTES - AROUND_BYTES


@pytest.mark.parametrize("behave", [value_of(MAX_REPLY_BYTES - AROUND_BYTES + 1), endless_line])
def test_stops_reading_past_the_ceiling(behave: Behaviour) -> None:
    with rogue_server(behave) as address, pytest.raises(ReplyTooLong):
        BoundedPool(address, 5, 1).get("k")


def test_a_server_that_drips_does_not_hold_a_command_past_its_time() -> None:
    with rogue_server(byte_by_byte) as address:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            BoundedPool(address, 0.2, 1).get("k")
        assert time.monotonic() - began < 1


def test_a_connection_that_the_server_ended_is_made_anew(memcached: Memcached) -> None:
    with closing(BoundedPool(server_address(memcached.address), 5, 1)) as pool:
        pool.set("k", b"1")
        memcached.kill()
        memcached.start()
        assert pool.get("k") is None


def test_a_connection_with_unread_bytes_is_not_used_again() -> None:
    """A second reply to the first command would be taken for the reply to the next one."""
    was_answered, has_sent_more = threading.Event(), threading.Event()

    def answer_twice(connection: socket.socket) -> None:
        connection.sendall(b"END\r\n")
        was_answered.wait(10)
        connection.sendall(b"VALUE k 0 6\r\nforged\r\nEND\r\n")
        has_sent_more.set()
        connection.recv(4096)

    with rogue_server(answer_twice) as address, closing(BoundedPool(address, 0.2, 1)) as pool:
        assert pool.get("k") is None
        was_answered.set()
        assert has_sent_more.wait(10)
        # The command goes to a new connection, which nobody accepts.
        with pytest.raises(TimeoutError):
            pool.get("k")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:11211", ("127.0.0.1", 11_211)),
        ("cache.example:1", ("cache.example", 1)),
        ("[::1]:65535", ("::1", 65_535)),
        ("unix:/run/memcached.sock", "/run/memcached.sock"),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | str) -> None:
    assert server_address(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.0.0.1:65536"])
def test_ports_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cache\.memcached\.servers"):
        server_address(text)


def test_a_unix_socket_a_name_and_ipv6(memcached: Memcached, second_memcached: Memcached, tmp_path: Path) -> None:
    ipv6 = Memcached(tmp_path, host="::1")
    try:
        for text in (f"localhost:{memcached.port}", second_memcached.address, ipv6.address):
            with closing(BoundedPool(server_address(text), 5, 1)) as pool:
                assert pool.set("k", text.encode()) is True
                assert pool.get("k") == text.encode()
    finally:
        ipv6.kill()
