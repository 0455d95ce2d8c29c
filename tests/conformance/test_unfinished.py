"""What can never become a request is refused when that is seen, and not only when its time is over."""

from __future__ import annotations

import pytest

from tests.icap.feeding import Broke, outcome
from tests.icap.wire import icap, respmod

LINE = b"OPTIONS icap://h/echo ICAP/1.0\r\n"
TLS_HELLO = bytes.fromhex("16030102000100 01fc0303") + bytes(32)


@pytest.mark.parametrize(
    "data",
    [
        TLS_HELLO,
        bytes(100),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"EHLO mail.example\r\n",
        b"OPTIONS icap://h/echo ICAP/1.0\n",
        b"\n",
        b"\r\n\n",
        LINE + b"\n",
        LINE + b"Host: h\n",
        LINE + b"Host: h\r\nX: a\x00",
        LINE + b"Host: h\r\nX: \x1b",
    ],
)
def test_a_head_that_never_becomes_one(data: bytes) -> None:
    assert outcome(data) == [Broke(400)]


@pytest.mark.parametrize("data", [icap("OPTIONS", "X: a", " folded", "Y:\tb\xff"), respmod("Preview: 0")])
def test_the_beginning_of_a_head_is_none_yet(data: bytes) -> None:
    end = data.index(b"\r\n\r\n") + 4
    for length in range(end):
        assert outcome(b"\r\n" + data[:length]) == []


@pytest.mark.parametrize(("line", "status"), [(b"OPTIONS / ICAP/2.0\r\n", 505), (b"FIND / ICAP/1.0\r\n", 501)])
def test_a_status_of_its_own_waits_for_the_whole_head(line: bytes, status: int) -> None:
    assert outcome(line + b"X: y\r\n") == []
    assert outcome(line + b"X: \x00\r\n\r\n") == [Broke(status)]


@pytest.mark.parametrize("line", [b"5\rh", b"5\r\r", b"0;a\rb", b"\rx"])
def test_a_chunk_line_with_a_bare_cr(line: bytes) -> None:
    assert outcome(respmod() + line)[1:] == [Broke(400)]


@pytest.mark.parametrize("line", [b"5", b"5\r", b"5;a=", b'5;a="', b'5;a="\\'])
def test_the_beginning_of_a_chunk_line_is_none_yet(line: bytes) -> None:
    assert outcome(respmod() + line)[1:] == []
