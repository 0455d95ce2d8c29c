"""The client's reading of replies, fed whole and byte by byte, at its limits and one past them."""

from __future__ import annotations

import pytest

from icapd.cli.verdict import Said, read_outcome
from icapd.errors import PeerProtocolError
from icapd.icap import reply
from icapd.icap.reply import ReplyReader

HTTP = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n"
BLOCK = (
    b'ICAP/1.0 200 OK\r\nISTag: "x"\r\n'
    b"X-Response-Info: MALICIOUS; finding=F; kind=malware; action=block; rule=r\r\n"
    b"Encapsulated: res-hdr=0, res-body=%d\r\n\r\n%b3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n" % (len(HTTP), HTTP)
)
NO_CONTENT = b"ICAP/1.0 204 No modifications needed\r\nX-Response-Info: CLEAN\r\nEncapsulated: null-body=0\r\n\r\n"
CONTINUE = b"ICAP/1.0 100 Continue\r\n\r\n"


def read(data: bytes, step: int) -> tuple[ReplyReader, bytes]:
    reader, body = ReplyReader(), b""
    for at in range(0, len(data), step):
        body += reader.receive(data[at : at + step])
    return reader, body


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
def test_a_block_page_is_read_in_any_pieces(step: int) -> None:
    reader, body = read(BLOCK, step)
    assert reader.is_finished
    assert body == b"hello"
    assert reader.head is not None
    assert (reader.head.status, reader.head.reason, reader.head.http_status) == (200, "OK", 403)
    assert reader.head.http_head == HTTP
    assert [name for name, _ in reader.head.headers] == ["ISTag", "X-Response-Info", "Encapsulated"]
    outcome = read_outcome(reader.head, "RESPMOD")
    assert outcome.is_blocked is True
    assert outcome.said == Said("MALICIOUS", "F", "malware", "block", "r")
    assert outcome.text == "MALICIOUS, F (malware), by the rule r"


@pytest.mark.parametrize("step", [1, 10_000])
def test_a_100_comes_before_the_reply(step: int) -> None:
    reader, _ = read(CONTINUE, step)
    assert not reader.is_finished
    assert reader.take_continue()
    assert not reader.take_continue()
    assert reader.receive(NO_CONTENT) == b""
    assert reader.is_finished
    assert reader.head is not None
    assert reader.head.status == 204


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"ICAP/2.0 200 OK\r\n\r\n",
        b"ICAP/1.0 +20 OK\r\n\r\n",
        b"ICAP/1.0 204 No\r\nname : value\r\n\r\n",
        b"ICAP/1.0 204 No\r\nEncapsulated: null-body=1\r\n\r\n",
        b"ICAP/1.0 204 No\r\nEncapsulated: null-body=0\r\nencapsulated: null-body=0\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=0\r\n\r\n5\r\nhelloXX",
        NO_CONTENT + b"x",
        CONTINUE + CONTINUE,
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        read(data, 10_000)


def _head_of(size_bytes: int) -> bytes:
    start = b"ICAP/1.0 204 No\r\nX: "
    return start + b"x" * (size_bytes - len(start)) + b"\r\n\r\n"


@pytest.mark.parametrize("last", [0, 1, 2, 3, 4])
def test_a_head_has_a_limit(last: int) -> None:
    """However late its end comes: the last bytes come alone."""
    whole, longer = _head_of(reply.HEAD_BYTES_MAX), _head_of(reply.HEAD_BYTES_MAX + 1)
    assert read(whole, len(whole) - last)[0].is_finished
    with pytest.raises(PeerProtocolError, match="head too long"):
        read(longer, len(longer) - last)


def test_a_head_without_an_end_has_a_limit() -> None:
    endless = _head_of(reply.HEAD_BYTES_MAX + 10).rstrip(b"\r\n")
    assert read(endless[: reply.HEAD_BYTES_MAX], 10_000)[0].head is None
    with pytest.raises(PeerProtocolError, match="head too long"):
        read(endless, 10_000)


def test_encapsulated_heads_have_a_limit() -> None:
    start = b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=%d\r\n\r\n"
    limit = reply.HTTP_HEAD_BYTES_MAX
    assert not read(start % limit, 10_000)[0].is_finished
    with pytest.raises(PeerProtocolError, match="encapsulated head too long"):
        read(start % (limit + 1), 10_000)


def test_the_end_without_an_end_is_not_finished() -> None:
    for end in range(len(BLOCK)):
        assert not read(BLOCK[:end], 10_000)[0].is_finished


def _outcome(fields: bytes, http: bytes, method: str = "RESPMOD", kind: bytes = b"res") -> bool | None:
    head = b"ICAP/1.0 200 OK\r\n%bEncapsulated: %b-hdr=0, null-body=%d\r\n\r\n" % (fields, kind, len(http))
    reader, _ = read(head + http, 10_000)
    assert reader.head is not None
    return read_outcome(reader.head, method).is_blocked


OK = b"HTTP/1.1 200 OK\r\n\r\n"
POST = b"POST / HTTP/1.1\r\n\r\n"


def test_other_servers_say_it_in_other_ways() -> None:
    assert _outcome(b"", OK) is False
    assert _outcome(b"", HTTP) is True
    assert _outcome(b"X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n", OK) is True
    assert _outcome(b"X-Virus-ID: Eicar\r\n", OK) is True
    assert _outcome(b"X-Response-Info: SUSPICIOUS; finding=F; action=monitor; rule=r\r\n", OK) is False
    assert _outcome(b"", POST, "REQMOD", b"req") is False
    assert _outcome(b"", OK, "REQMOD") is True


def test_a_200_must_return_something() -> None:
    reader, _ = read(b"ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n", 10_000)
    assert reader.head is not None
    assert read_outcome(reader.head, "OPTIONS").is_blocked is None
    with pytest.raises(PeerProtocolError):
        read_outcome(reader.head, "RESPMOD")
