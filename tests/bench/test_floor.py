"""The floor answers what the load generator asks, and goes on after a client has gone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.programs import ROOT
from tests.support.eicar import EICAR

SERVE = """
import sys
from pathlib import Path
from bench.floor import run_floor
with run_floor(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""
HTTP = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
HEAD = (
    b"RESPMOD icap://a/x ICAP/1.0\r\nHost: a\r\nAllow: 204\r\nPreview: 4\r\n"
    b"Encapsulated: req-hdr=0, res-hdr=%d, res-body=%d\r\n\r\n" % (len(HTTP[0]), sum(map(len, HTTP)))
) + b"".join(HTTP)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("floor")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as floor:
        assert floor.stdout is not None
        yield int(floor.stdout.readline())
        floor.communicate()
    assert floor.returncode == 0


def ask(port: int, *parts: bytes) -> list[bytes]:
    """The answer to each part of one request."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        answers = []
        for part in parts:
            client.sendall(part)
            answers.append(client.recv(4096).partition(b"\r\n")[0])
        return answers


def test_a_preview_is_gone_on_with(port: int) -> None:
    rest = b"2000\r\n" + bytes(0x2000) + b"\r\n0\r\n\r\n"
    answers = ask(port, HEAD + b"4\r\nabcd\r\n0\r\n\r\n", rest)
    assert answers == [b"ICAP/1.0 100 Continue", b"ICAP/1.0 204 No Content"]


@pytest.mark.parametrize("body", [b"abc", EICAR])
def test_a_preview_may_be_all(port: int, body: bytes) -> None:
    assert ask(port, HEAD + b"%x\r\n%b\r\n0; ieof\r\n\r\n" % (len(body), body)) == [b"ICAP/1.0 204 No Content"]


def test_a_client_that_has_gone_harms_nobody(port: int) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(HEAD + b"3\r\nabc\r\n0; ieof\r\n\r\n")
    assert ask(port, HEAD + b"3\r\nabc\r\n0; ieof\r\n\r\n") == [b"ICAP/1.0 204 No Content"]
