"""The strict client is what the other tests rest on: it must refuse what Squid refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.icap_client import IcapClient, ReplyError, Request, chunked

RES_HDR = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


class Peer:
    """The server's end of one connection: says prepared bytes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.client = IcapClient(self._listener.getsockname(), deadline_s=5)
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(5)

    def says(self, data: bytes, *, then_closes: bool = False) -> None:
        self._connection.sendall(data)
        if then_closes:
            self._connection.shutdown(socket.SHUT_WR)

    def heard(self, count: int) -> bytes:
        heard = b""
        while len(heard) < count and (more := self._connection.recv(count - len(heard))):
            heard += more
        return heard

    def close(self) -> None:
        self.client.close()
        self._connection.close()
        self._listener.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    connected = Peer()
    yield connected
    connected.close()


def reply(head: str, rest: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + rest


def test_reads_sections_by_offset_and_joins_chunks(peer: Peer) -> None:
    head = f'ICAP/1.0 200 OK\nISTag: "a"\nEncapsulated: res-hdr=0, res-body={len(RES_HDR)}'
    peer.says(reply(head, RES_HDR + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0; use-original-body=7\r\nA: b\r\n\r\n"))

    got = peer.client.read_reply()

    assert (got.status, got.header("istag"), got.http_status) == (200, '"a"', 200)
    assert (got.sections, got.body_kind, got.body) == ({"res-hdr": RES_HDR}, "res-body", b"hello")
    assert (got.last_chunk_extension, got.trailers) == ("; use-original-body=7", [b"A: b"])


@pytest.mark.parametrize(
    "data",
    [
        reply("HTTP/1.1 200 OK"),
        reply("ICAP/1.0 204 OK") + b"\r\n",
        reply("ICAP/1.0 204 OK\nISTag : x"),
        reply("ICAP/1.0 204 OK\nISTag: x\rY: z"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-hdr=0"),
        reply("ICAP/1.0 200 OK\nEncapsulated: null-body=0\nEncapsulated: null-body=0"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-hdr=0, null-body=4", b"HTTP"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-body=0", b"5\r\nhello"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-body=0", b"4\r\nhello\r\n0\r\n\r\n"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-body=0", b"0x5\r\nhello\r\n0\r\n\r\n"),
        reply("ICAP/1.0 200 OK\nEncapsulated: res-body=0", b"0\r\n\r\n\r\n"),
    ],
    ids=[
        "http",
        "stray CRLF",
        "space before colon",
        "bare CR",
        "no body item",
        "twice",
        "section not a header block",
        "cut short",
        "chunk longer than said",
        "0x",
        "bytes behind the body",
    ],
)
def test_refuses_what_is_not_exactly_one_reply(peer: Peer, data: bytes) -> None:
    peer.says(data, then_closes=True)

    with pytest.raises(ReplyError):
        peer.client.read_reply()


def test_pipelined_replies_are_read_one_by_one(peer: Peer) -> None:
    peer.says(reply("ICAP/1.0 204 One") + reply("ICAP/1.0 204 Two"))

    assert peer.client.read_reply(last=False).reason == "One"
    assert peer.client.read_reply().reason == "Two"


@pytest.mark.parametrize(
    ("size_bytes", "preview"),
    [(0, b"0; ieof\r\n\r\n"), (3, b"3\r\nxxx\r\n0; ieof\r\n\r\n"), (4, b"3\r\nxxx\r\n0\r\n\r\n")],
)
def test_preview_ends_with_ieof_only_when_it_is_everything(size_bytes: int, preview: bytes) -> None:
    assert Request("REQMOD", "/x", body=b"x" * size_bytes, preview_bytes=3).preview() == preview


def test_rest_follows_100_continue(peer: Peer) -> None:
    request = Request("RESPMOD", "/x", res_hdr=RES_HDR, body=b"hello", preview_bytes=2, allow="204")
    first = request.head(peer.client.host) + b"2\r\nhe\r\n0\r\n\r\n"
    rest = chunked(b"llo")

    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(peer.client.exchange, request)
        assert peer.heard(len(first)) == first
        peer.says(reply("ICAP/1.0 100 Continue"))
        assert peer.heard(len(rest)) == rest
        peer.says(reply("ICAP/1.0 204 OK"))

    assert answer.result().status == 204
