"""Connections: kept, pipelined, slow, broken, and ended in the middle."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.http.client import (
    TIMEOUT_S,
    Server,
    ask,
    form,
    form_type,
    head,
    headers_of,
    read_answer,
    read_to_end,
    taken,
)
from tests.http.conftest import Serve
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.ports import LOOPBACK
from tests.support.process import wait_until

CLEAN = b"An ordinary text.\n"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Short time-outs and small bounds."""
    tables = {
        "timeouts": {
            "head_s": 0.5,
            "body_idle_s": 0.5,
            "body_total_s": 2.0,
            "scan_s": 1.5,
            "scan_grace_s": 0.1,
            "idle_s": 0.5,
            "drain_s": 0.5,
        },
        "limits": {"head_bytes": 2048, "discard_bytes": 1024 * 1024, "pipelined_bytes": 4096},
    }
    with Server(tmp_path_factory.mktemp("hasty"), tables, max_body_bytes=64 * 1024) as running:
        yield running


def test_a_connection_is_kept(server: Server) -> None:
    connection = HTTPConnection(LOOPBACK, server.http_port, timeout=TIMEOUT_S)
    before = server.metric("icapd_connections_total")
    for number in range(20):
        connection.request("POST", "/scan", f"text {number}", headers_of())
        assert taken(connection.getresponse()).json["verdict"] == "CLEAN"
    assert server.metric("icapd_connections_total") == before + 1
    connection.close()


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    bodies = [order("sleep", 0.3), EICAR, CLEAN]
    with server.connect() as client:
        client.sendall(b"".join(head(len(body)) + body for body in bodies))
        answers = [read_answer(client) for _ in bodies]
    assert [answer.json["size_bytes"] for answer in answers] == [len(body) for body in bodies]
    assert [answer.json["verdict"] for answer in answers] == ["CLEAN", "MALICIOUS", "CLEAN"]


def test_who_pipelines_without_reading_is_not_kept_in_memory(hasty: Server) -> None:
    with hasty.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(1.0)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: icapd\r\n\r\n"
        with pytest.raises((TimeoutError, ConnectionError)):
            client.sendall(request * 400_000)


@pytest.mark.parametrize("body", [CLEAN, b""])
def test_expect_100_continue(server: Server, body: bytes) -> None:
    with server.connect() as client:
        client.sendall(head(len(body), "/scan", "Expect: 100-continue"))
        if body:
            assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body)
        assert read_answer(client).json["verdict"] == "CLEAN"


@pytest.mark.parametrize(
    ("target", "length", "lines", "status"),
    [
        ("/scan", 2_000_000, (), 413),
        ("/scan?answer=no", 10, (), 400),
        ("/nowhere", 10, (), 404),
        ("/scan", 10, ("Content-Type: multipart/mixed",), 415),
        ("/scan", 10, ("Content-Type: text/plain", "Content-Type: multipart/form-data; boundary=x"), 415),
    ],
)
def test_a_refusal_does_not_ask_for_the_body(
    server: Server, target: str, length: int, lines: tuple[str, ...], status: int
) -> None:
    with server.connect() as client:
        client.sendall(head(length, target, "Expect: 100-continue", *lines))
        answer = read_answer(client)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""


def test_a_half_closed_client_gets_its_answer(server: Server) -> None:
    with server.connect() as client:
        client.sendall(head(len(EICAR)) + EICAR)
        client.shutdown(socket.SHUT_WR)
        assert read_answer(client).json["verdict"] == "MALICIOUS"
        assert read_to_end(client) == b""


def test_http_1_0_and_close_end_with_the_answer(server: Server) -> None:
    for text in (head(len(CLEAN)).replace(b"HTTP/1.1", b"HTTP/1.0"), head(len(CLEAN), "/scan", "Connection: close")):
        with server.connect() as client:
            client.sendall(text + CLEAN)
            assert read_answer(client).headers["connection"] == "close"
            assert read_to_end(client) == b""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /scan HTTP/1.1\r\n\r\n", 400),
        (head(5).replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"), 400),
        (head(5).replace(b": 5", b": +5"), 400),
        (head(None).replace(b"chunked", b"gzip, chunked"), 400),
        (head(None) + b"zz\r\n", 400),
        (head(None) + b"5\r\nhelloXX0\r\n\r\n", 400),
        (head(0, "/scan", "X: " + "y" * 70_000), 431),
    ],
)
def test_what_is_no_http(server: Server, text: bytes, status: int) -> None:
    with server.connect() as client:
        client.sendall(text)
        assert read_answer(client).status == status


@pytest.mark.parametrize(
    "text",
    [
        head(None, "/scan", "Content-Length: 5") + b"5\r\nhello\r\n0\r\n\r\n",
        head(None, "/scan", "Content-Length: 0") + b"0\r\n\r\n",
        head(5, "/scan", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(None).replace(b"HTTP/1.1", b"HTTP/1.0") + b"5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_body_framed_in_two_ways_ends_the_connection(server: Server, text: bytes) -> None:
    """A proxy that frames it the other way would take its end for a request of somebody else."""
    with server.connect() as client:
        client.sendall(text + head(len(EICAR)) + EICAR)
        answer = read_answer(client)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""


def test_what_goes_wrong_after_a_head_request_has_an_answer_with_its_body(hasty: Server) -> None:
    for text, status in ((b"nonsense\r\n\r\n", 400), (b"POST /sc", 408)):
        with hasty.connect() as client:
            client.sendall(b"HEAD /openapi.json HTTP/1.1\r\nHost: icapd\r\n\r\n")
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                received += client.recv(65536)
            client.sendall(text)
            answer = read_answer(client)
        assert (answer.status, answer.json["status"]) == (status, status)
    assert hasty.metric("icapd_internal_errors_total") == 0


def test_a_head_at_the_limit_and_past_it(hasty: Server) -> None:
    for length, status in ((2048, 200), (2049, 431)):
        text = head(0, "/scan", "X: ")
        text = text.replace(b"X: ", b"X: " + b"y" * (length - len(text)))
        with hasty.connect() as client:
            client.sendall(text[:-2])
            client.sendall(text[-2:])
            assert read_answer(client).status == status


def test_a_slow_head(hasty: Server) -> None:
    with hasty.connect() as client:
        client.sendall(b"POST /scan HT")
        assert read_answer(client).status == 408
    with hasty.connect() as client:
        assert client.recv(1) == b""


def test_a_body_that_stops(hasty: Server) -> None:
    with hasty.connect() as client:
        client.sendall(head(100) + b"half of it")
        answer = read_answer(client)
    assert (answer.status, *answer.said("verdict", "outcome", "action", "sha256")) == (
        408,
        "ERROR",
        "timed-out",
        "block",
        None,
    )
    assert [each["name"] for each in answer.json["findings"]] == ["body-timed-out"]
    [line] = hasty.access_lines(1, id=answer.json["transaction"])
    assert (line["status"], line["verdict"], line["body_bytes"]) == (408, "ERROR", 10)


def test_a_body_that_trickles_for_too_long(hasty: Server) -> None:
    with hasty.connect() as client:
        client.settimeout(0.2)
        client.sendall(head(1000))
        received = b""
        while not received:
            client.sendall(b"x")
            try:
                received = client.recv(65536)
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_form_that_stops_in_a_file_and_between_files(hasty: Server) -> None:
    whole = form(("eicar", EICAR), ("b", CLEAN))
    fields = f"Content-Type: {form_type()}"
    for cut in (len(whole) - 30, len(form(("eicar", EICAR))) - 2):
        with hasty.connect() as client:
            client.sendall(head(len(whole), "/scan", fields) + whole[:cut])
            answer = read_answer(client)
            assert answer.status == 408
        if "files" in answer.json:
            assert [each["verdict"] for each in answer.json["files"]] == ["MALICIOUS", "ERROR"]


def test_a_scan_that_takes_too_long(hasty: Server) -> None:
    answer = ask(hasty, order("hang"))
    assert (answer.status, *answer.said("verdict", "outcome", "action")) == (200, "ERROR", "timed-out", "block")


def test_a_client_that_goes_away(server: Server) -> None:
    abandoned = server.metric("icapd_abandoned_total")
    for text in (head(1000) + b"half", head(len(order("sleep", "0.5 gone"))) + order("sleep", "0.5 gone")):
        with server.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.sendall(text)
    wait_until(lambda: server.metric("icapd_abandoned_total") == abandoned + 2, "both are noticed")
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")
    assert len(server.access_lines(2, error="client gone")) >= 2


def test_an_early_end_of_the_body(server: Server) -> None:
    with server.connect() as client:
        client.sendall(head(1000) + b"half")
        client.shutdown(socket.SHUT_WR)
        assert read_answer(client).status == 400
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")


def test_an_idle_connection_is_closed(hasty: Server) -> None:
    with hasty.connect() as client:
        client.sendall(head(0))
        assert read_answer(client).status == 200
        assert client.recv(1) == b""


def test_a_stop_answers_what_runs_and_closes_what_idles(serve: Serve) -> None:
    served = serve()
    with served.connect() as busy, served.connect() as idle:
        idle.sendall(head(0))
        assert read_answer(idle).status == 200
        body = order("sleep", 1)
        busy.sendall(head(len(body)) + body)
        wait_until(lambda: served.metric("icapd_scanners", state="busy") == 1, "the scan runs")
        served.child.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        answer = read_answer(busy)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
