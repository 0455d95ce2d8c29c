"""Channels in a real reactor: packets stay whole, no descriptor is lost, a dead peer is noticed once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import partial
from typing import cast

import pytest

from icapd.reactor import Reactor
from icapd.worker.channel import PacketChannel
from icapd.worker.frames import PACKET_BYTES_MAX
from icapd.worker.packets import packet_pair, receive, send
from tests.support.reactor import reactor, wait_until


class Ends:
    """A channel and the plain socket of its other side. State: what the channel told so far."""

    def __init__(self) -> None:
        ours, self.theirs = packet_pair()
        self.packets: list[bytes] = []
        self.descriptors: list[int] = []
        self.losses = 0
        self.channel = PacketChannel(cast(Reactor, reactor), ours, self._on_packet, self._on_lost)

    def _on_packet(self, packet: bytes, descriptors: list[int]) -> None:
        self.packets.append(packet)
        self.descriptors += descriptors

    def _on_lost(self) -> None:
        self.losses += 1

    def close(self) -> None:
        self.channel.close()
        self.theirs.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def _has(ends: Ends, count: int) -> bool:
    return len(ends.packets) == count


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_packets_stay_whole_and_in_order(ends: Ends) -> None:
    sent = [b"a", b"b" * 1000, b"c" * PACKET_BYTES_MAX, b"d"]
    ends.theirs.setblocking(False)
    for packets in (sent[:2], sent[2:3], sent[3:]):  # a buffer takes the largest packet alone
        count = len(ends.packets) + len(packets)
        for packet in packets:
            send(ends.theirs, [packet])
        wait_until(partial(_has, ends, count))

    assert ends.packets == sent


@pytest.mark.parametrize("size", [PACKET_BYTES_MAX - 1, PACKET_BYTES_MAX])
def test_the_largest_packet_goes_in_parts_without_waiting(ends: Ends, size: int) -> None:
    head = b"h" * 100

    assert ends.channel.send([head, b"b" * (size - len(head))])
    assert receive(ends.theirs) == (head + b"b" * (size - len(head)), [])


def test_a_packet_no_buffer_takes_loses_the_channel(ends: Ends) -> None:
    assert not ends.channel.send([b"x" * (8 * PACKET_BYTES_MAX)])
    assert ends.losses == 1


def test_descriptors_travel_with_their_packet(ends: Ends) -> None:
    reading, writing = os.pipe()
    send(ends.theirs, [b"take this"], [writing])
    os.close(writing)
    wait_until(lambda: ends.packets)
    [arrived] = ends.descriptors
    os.write(arrived, b"through")

    assert os.read(reading, 100) == b"through"
    assert not os.get_inheritable(arrived)
    os.close(reading)


def test_a_sent_descriptor_stays_the_senders(ends: Ends) -> None:
    reading, writing = os.pipe()
    assert ends.channel.send([b"a copy"], [writing])
    _, [copy] = receive(ends.theirs)
    os.close(copy)
    os.write(writing, b"still mine")

    assert os.read(reading, 100) == b"still mine"
    os.close(reading)
    os.close(writing)


def test_descriptors_beside_no_bytes_are_closed(ends: Ends) -> None:
    reading, writing = os.pipe()
    before = open_descriptors()
    send(ends.theirs, [b""], [writing])
    wait_until(lambda: ends.losses)

    assert ends.packets == []
    assert open_descriptors() == before - 1  # the channel's own end
    os.close(reading)
    os.close(writing)


def test_the_end_of_the_peer_is_told_once(ends: Ends) -> None:
    ends.theirs.close()
    wait_until(lambda: ends.losses)

    assert not ends.channel.send([b"too late"])
    ends.channel.connectionLost(None)
    assert ends.losses == 1


def test_what_the_peer_said_before_its_end_is_heard(ends: Ends) -> None:
    send(ends.theirs, [b"last words"])
    ends.theirs.close()
    wait_until(lambda: ends.losses)

    assert ends.packets == [b"last words"]


def test_sending_to_a_peer_that_is_gone_tells_at_once(ends: Ends) -> None:
    ends.theirs.close()

    assert not ends.channel.send([b"hello?"])
    assert ends.losses == 1


def test_a_full_channel_is_lost_and_never_waits(ends: Ends) -> None:
    sent = 0
    while ends.channel.send([b"x" * 1024]):
        sent += 1
        assert sent < 10_000

    assert sent > 0
    assert ends.losses == 1


def test_closing_our_own_end_is_no_loss(ends: Ends) -> None:
    ends.channel.close()
    ends.channel.close()

    assert ends.theirs.recv(1) == b""
    assert not ends.channel.send([b"closed"])
    assert ends.losses == 0


def test_a_channel_that_talks_much_starves_no_other(ends: Ends) -> None:
    other = Ends()
    other.packets = ends.packets
    for number in range(20):
        send(ends.theirs, [b"%d" % number])
    send(other.theirs, [b"one word"])
    wait_until(lambda: len(ends.packets) == 21)

    assert ends.packets.index(b"one word") <= 1
    other.close()


def test_ends_are_of_packets_and_not_inherited() -> None:
    for end in (pair := packet_pair()):
        assert end.type == socket.SOCK_SEQPACKET
        assert not end.get_inheritable()
    for end in pair:
        end.close()
