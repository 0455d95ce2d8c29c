"""`icapd send` when the server is not there or not as it should be, and when its user is wrong."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.command import icapd
from tests.cli.scripted import Scripted, read_until
from tests.support.icapd import ICAPD
from tests.support.ports import free_port

NO_CONTENT = b"ICAP/1.0 204 No modifications needed\r\nEncapsulated: null-body=0\r\n\r\n"
CONTINUE = b"ICAP/1.0 100 Continue\r\n\r\n"
END = b"\r\n0\r\n\r\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(b"hello")
    return path


def test_nothing_listens(text: Path) -> None:
    port = free_port()
    ended = icapd("send", text, "--url", f"icap://127.0.0.1:{port}")
    assert (ended.status, ended.out) == (3, "")
    assert ended.err == (
        f"icapd send: nothing listens on 127.0.0.1:{port}: is icapd running? "
        "start it with: make serve, or: icapd serve\n"
    )


def test_no_unix_socket(text: Path, tmp_path: Path) -> None:
    ended = icapd("send", text, "--url", f"unix:{tmp_path}/none.sock")
    assert (ended.status, ended.out) == (3, "")
    assert f"nothing listens on unix:{tmp_path}/none.sock" in ended.err


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"", "closed the connection without a reply"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "broke the protocol: not an ICAP reply"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n", "status 200 with no HTTP message"),
        (CONTINUE + NO_CONTENT[:20], "100 Continue that nobody waits for"),
        (NO_CONTENT + b"more", "bytes behind the end of the reply"),
        (
            b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n5\r\nhe",
            "in the middle of its reply (200 OK)",
        ),
    ],
)
def test_a_server_that_errs_is_named_as_the_culprit(text: Path, reply: bytes, what: str) -> None:
    def script(connection: socket.socket) -> None:
        read_until(connection, END)
        connection.sendall(reply)

    with Scripted(script) as server:
        ended = icapd("send", text, "--url", server.url)
    assert (ended.status, ended.out) == (3, "")
    assert what in ended.err
    assert len(ended.err.splitlines()) == 1


def test_silence_has_an_end(text: Path) -> None:
    def script(connection: socket.socket) -> None:
        read_until(connection, END)
        connection.recv(1)  # until the client gives up

    with Scripted(script) as server:
        ended = icapd("send", text, "--url", server.url, "--timeout", "0.2")
    assert ended.status == 3
    assert "was silent for 0.2 s" in ended.err


def test_ctrl_c_ends_quietly(text: Path) -> None:
    is_asked = threading.Event()

    def script(connection: socket.socket) -> None:
        read_until(connection, END)
        is_asked.set()
        connection.recv(1)  # until the client is gone

    with Scripted(script) as server:
        process = subprocess.Popen(
            [ICAPD, "send", text, "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert is_asked.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


def test_a_reply_before_the_body_is_through_is_taken(tmp_path: Path) -> None:
    """The server reads no more than the head, answers, and closes."""
    large = tmp_path / "large"
    large.write_bytes(b"x" * 30_000_000)

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(NO_CONTENT)
        while connection.recv(1 << 20):
            pass

    with Scripted(script) as server:
        ended = icapd("send", large, "--url", server.url)
    assert (ended.status, ended.err) == (0, "")
    assert "ICAP status 204" in ended.out


def test_the_rest_follows_100_continue(text: Path) -> None:
    heard = []

    def script(connection: socket.socket) -> None:
        heard.append(read_until(connection, b"0\r\n\r\n"))
        connection.sendall(CONTINUE)
        heard.append(read_until(connection, END))
        connection.sendall(NO_CONTENT)

    with Scripted(script) as server:
        ended = icapd("send", text, "--url", server.url, "--preview", "2")
    assert ended.status == 0
    assert b"\r\nPreview: 2\r\n" in heard[0]
    assert heard[0].endswith(b"\r\n\r\n2\r\nhe\r\n0\r\n\r\n")
    assert heard[1] == b"3\r\nllo\r\n0\r\n\r\n"


def test_a_preview_that_is_the_whole_body_says_so_and_takes_no_100(text: Path) -> None:
    heard = []

    def script(connection: socket.socket) -> None:
        heard.append(read_until(connection, b"; ieof\r\n\r\n"))
        connection.sendall(CONTINUE)

    with Scripted(script) as server:
        ended = icapd("send", text, "--url", server.url, "--preview", "5")
    assert heard[0].endswith(b"\r\n\r\n5\r\nhello\r\n0; ieof\r\n\r\n")
    assert ended.status == 3
    assert "100 Continue that nobody waits for" in ended.err


def test_text_of_the_server_cannot_command_the_terminal(text: Path) -> None:
    def script(connection: socket.socket) -> None:
        read_until(connection, END)
        connection.sendall(
            b"ICAP/1.0 204 No\r\nX-Response-Info: CLEAN\x80\x9b2J\r\nEncapsulated: null-body=0\r\n\r\n"
        )

    with Scripted(script) as server:
        ended = icapd("send", text, "--url", server.url)
    assert ended.status == 0
    assert "CLEAN\\x80\\x9b2J" in ended.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "which FILE?"),
        (["/nonexistent"], "No such file or directory"),
        (["/"], "Is a directory"),
        (["FILE", "--url", "http://127.0.0.1"], "neither icap://"),
        (["FILE", "--url", "icap://"], "neither icap://"),
        (["FILE", "--url", "icap://127.0.0.1:99999"], "ort out of range"),
        (["FILE", "--url", "icaps://127.0.0.1"], "icaps is not spoken here"),
        (["FILE", "--url", "unix:relative"], "absolute path"),
        (["FILE", "--service", "scan"], "no service"),
        (["FILE", "--url", "icap://127.0.0.1/scan", "--service", "/scan"], "names a service already"),
        (["FILE", "--content-type", "a\r\nb"], "printable ASCII"),
        (["FILE", "--save", "FILE"], "would overwrite"),
        (["FILE", "--method", "OPTIONS"], "no FILE"),
    ],
)
def test_wrong_use_ends_with_2_and_a_line_that_says_why(text: Path, arguments: list[str], what: str) -> None:
    ended = icapd("send", *(argument.replace("FILE", str(text)) for argument in arguments))
    assert (ended.status, ended.out) == (2, "")
    assert what in ended.err
    assert len(ended.err.splitlines()) == 1
    assert text.read_bytes() == b"hello"
