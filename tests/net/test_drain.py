"""SIGTERM: what runs is answered, what is idle ends, and the process is gone in time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.messages import halted_scanners, respmod, text
from tests.support.icap_client import IcapClient, ReplyError, Request
from tests.support.icapd import Icapd, merged
from tests.support.process import wait_until

Start = Callable[[float], Icapd]


@pytest.fixture
def start(tmp_path: Path, engines: dict[str, Any]) -> Iterator[Start]:
    """Starts a server with this `timeouts.shutdown_s`."""
    running: list[Icapd] = []

    def begin(shutdown_s: float) -> Icapd:
        running.append(Icapd(tmp_path / "icapd", merged(engines, {"timeouts": {"shutdown_s": shutdown_s}})))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


def refuses(server: Icapd) -> bool:
    try:
        with IcapClient(server.address):
            return False
    except ConnectionRefusedError:
        return True


def test_what_runs_is_answered_and_then_it_ends(start: Start) -> None:
    server = start(15)
    judged = respmod(text(100, "judged"), "/scan")
    with IcapClient(server.address) as idle, IcapClient(server.address) as busy, IcapClient(server.address) as late:
        assert idle.exchange(respmod(None, "/scan", allow="204")).status == 204
        asked = Request("OPTIONS", "/scan").head("x")
        with halted_scanners(server):
            busy.send(judged.head("x") + judged.remainder())
            late.send(asked[:10])
            wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scan runs")
            server.child.send_signal(signal.SIGTERM)
            assert idle.read_until_closed() == b""
            wait_until(lambda: refuses(server), "the listener is closed")
            assert server.admin("/readyz") == (503, "draining\n")
            assert server.admin("/livez")[0] == 200
            late.send(asked[10:])
            refusal = late.read_reply()
            assert (refusal.status, refusal.header("Connection")) == (503, "close")
            assert refusal.header("ISTag")
            assert late.read_until_closed() == b""
        reply = busy.read_reply()
        assert (reply.status, reply.body, reply.header("Connection")) == (200, judged.body, "close")
        assert busy.read_until_closed() == b""
    wait_until(lambda: server.child.exit_code is not None, "the process ends")
    assert server.child.exit_code == 0
    assert len(server.access_lines(2)) == 2


def test_what_does_not_end_is_cut_off(start: Start) -> None:
    server = start(0.5)
    request = respmod(text(100, "stuck"), "/scan")
    with IcapClient(server.address) as stuck, halted_scanners(server):
        stuck.send(request.head("x") + request.remainder())
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scan runs")
        asked_at = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        with pytest.raises((ReplyError, ConnectionResetError)):
            stuck.read_reply()
        wait_until(lambda: server.child.exit_code is not None, "the process ends")
        assert time.monotonic() - asked_at < 5
    assert server.child.exit_code == 0
    assert '"event":"cut-off"' in server.child.output()
