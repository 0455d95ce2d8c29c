"""What happens to a body that the spool cannot keep, under each policy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.net.messages import KIB, MIB, fronts, reqmod, resident_bytes, respmod, text
from tests.support.icap_client import IcapClient, Reply, Request
from tests.support.icapd import Icapd, merged
from tests.support.process import wait_until

SURPLUS_MAX = 32
POLICIES = ("strict", "balanced", "open")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, directory: Path, engines: dict[str, Any]) -> Iterator[Icapd]:
    """A mebibyte of memory and one of disk for all bodies; few connections."""
    tables = {
        "server": {"max_connections": 8},
        "spool": {
            "memory_bytes": 16 * KIB,
            "memfd_bytes": 128 * KIB,
            "total_memory_bytes": 1 * MIB,
            "total_disk_bytes": 1 * MIB,
            "directory": str(directory),
        },
        "service": [
            *({"path": f"/{policy}", "policy": policy} for policy in POLICIES),
            {"path": "/echo", "scan": False},
        ],
    }
    with Icapd(tmp_path_factory.mktemp("tight"), merged(engines, tables)) as running:
        yield running


def ask(server: Icapd, request: Request) -> Reply:
    with IcapClient(server.address) as client:
        return client.exchange(request)


def check_refused(server: Icapd, request: Request, policy: str) -> None:
    reply = ask(server, request)
    info = reply.header("X-Response-Info") or ""
    assert reply.status == 200
    assert info.startswith("ERROR; finding=spool-full; kind=overload; action=")
    if policy == "open":
        assert "action=monitor" in info
        assert (len(reply.body), reply.body == request.body) == (len(request.body or b""), True)
    else:
        assert (reply.http_status, "action=block" in info) == (403, True)
    wait_until(lambda: server.metric("icapd_spool_bytes") == 0, "the spool is empty")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_disk_total_at_the_limit_and_one_past_it(tight: Icapd, policy: str) -> None:
    refused = tight.metric("icapd_spool_refused_total", reason="spool-full")
    assert ask(tight, respmod(text(1 * MIB, policy), f"/{policy}", allow="204")).status == 204
    check_refused(tight, respmod(text(1 * MIB + 1, policy), f"/{policy}"), policy)
    check_refused(tight, reqmod(text(3 * MIB, policy), f"/{policy}", preview_bytes=1024), policy)
    assert tight.metric("icapd_spool_refused_total", reason="spool-full") == refused + 2


def test_an_allowed_204_stands_for_a_body_that_could_not_be_kept(tight: Icapd) -> None:
    reply = ask(tight, respmod(text(2 * MIB, "204"), "/open", allow="204"))
    assert (reply.status, str(reply.header("X-Response-Info")).partition(";")[0]) == (204, "ERROR")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_directory_that_is_gone(tight: Icapd, directory: Path, policy: str) -> None:
    away = directory.with_name("away")
    directory.rename(away)
    try:
        assert ask(tight, respmod(text(128 * KIB, policy), f"/{policy}", allow="204")).status == 204
        check_refused(tight, respmod(text(128 * KIB + 1, policy), f"/{policy}"), policy)
    finally:
        away.rename(directory)
    assert ask(tight, respmod(text(128 * KIB + 1, f"{policy} again"), f"/{policy}", allow="204")).status == 204


def test_all_bodies_together_use_no_more_than_the_totals(tight: Icapd) -> None:
    """A client that does not read, past all totals: it has to wait, and gets its body whole when it reads."""
    body = text(24 * MIB, "unread")
    [front] = fronts(tight)
    before = resident_bytes(front)
    with IcapClient(tight.address) as client:
        request = respmod(body, "/echo")
        data = request.head(client.host) + request.remainder()
        sender = threading.Thread(target=client.send, args=(data,), daemon=True)
        sender.start()
        wait_until(
            lambda: tight.metric("icapd_spool_bytes", place="disk") > 900 * KIB, "the disk total is nearly used"
        )
        assert tight.metric("icapd_spool_bytes") <= 2 * MIB
        assert resident_bytes(front) - before < 8 * MIB
        reply = client.read_reply()
        sender.join()
        assert (len(reply.body), reply.body == body) == (len(body), True)
    wait_until(lambda: tight.metric("icapd_spool_bytes") == 0, "the spool is empty")


def test_connections_at_the_limit_and_one_past_it(tight: Icapd) -> None:
    wait_until(lambda: tight.metric("icapd_open_connections") == 0, "no client is left")
    refused = tight.metric("icapd_connections_refused_total", reason="max_connections")
    clients = [IcapClient(tight.address) for _ in range(8)]
    for client in clients:
        reply = client.exchange(respmod(None, "/open", allow="204"))
        assert reply.status == 204
    istag = reply.header("ISTag")
    with IcapClient(tight.address) as ninth:
        ninth.send(respmod(None, "/open", allow="204").head("x"))
        reply = ninth.read_reply()
        assert (reply.status, reply.header("Connection"), reply.body_kind) == (503, "close", "null-body")
        assert reply.header("ISTag") == istag
        assert ninth.read_until_closed() == b""
    assert tight.metric("icapd_connections_refused_total", reason="max_connections") == refused + 1
    with ExitStack() as surplus:
        told = [surplus.enter_context(IcapClient(tight.address)) for _ in range(SURPLUS_MAX)]
        assert [client.read_reply().status for client in told] == [503] * SURPLUS_MAX
        with IcapClient(tight.address) as one_more:
            assert one_more.read_until_closed() == b""
    clients.pop().close()
    wait_until(lambda: tight.metric("icapd_open_connections") == 7, "a place is free")
    assert ask(tight, respmod(None, "/open", allow="204")).status == 204
    for client in clients:
        client.close()
