"""Sizes, memory, disk and load: each limit at the limit and past it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.http.client import Server, ask, form, form_type, head, read_answer
from tests.http.conftest import Serve
from tests.net.messages import resident_bytes
from tests.process.servers import front_pids
from tests.support.engines import order
from tests.support.process import wait_until

KIB, MIB = 1024, 1024 * 1024


def chunks(count: int, size_bytes: int = MIB) -> list[bytes]:
    piece = b"a line of text that says nothing\n" * (size_bytes // 33 + 1)
    return [piece[:size_bytes]] * count


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_file_at_the_ceiling_and_past_it(server: Server, is_announced: bool) -> None:
    for size_bytes, status in ((MIB, 200), (MIB + 1, 413)):
        body = b"x" * size_bytes
        answer = ask(server, body if is_announced else iter([body]))
        assert answer.status == status
    assert answer.said("verdict", "outcome", "action", "sha256", "size_bytes") == (
        "UNSCANNABLE",
        "too-large",
        "block",
        None,
        MIB + 1,
    )
    assert [each["name"] for each in answer.json["findings"]] == ["max_body_bytes"]


def test_a_file_past_the_ceiling_where_policy_lets_it_pass(serve: Serve) -> None:
    served = serve(max_body_bytes=KIB, policy="open")
    answer = ask(served, b"x" * (KIB + 1))
    assert (answer.status, *answer.said("verdict", "action")) == (413, "UNSCANNABLE", "monitor")
    assert ask(served, b"x" * (KIB + 1), "/scan?answer=status").status == 200


def test_a_file_past_the_ceiling_is_a_status_too(server: Server) -> None:
    answer = ask(server, b"x" * (MIB + 1), "/scan?answer=status")
    assert (answer.status, answer.body) == (413, b"")


def test_two_hundred_mebibytes_in_little_memory(serve: Serve, tmp_path: Path) -> None:
    served = serve({"spool": {"directory": str(tmp_path)}})
    [front] = front_pids(served)
    before = resident_bytes(front)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, resident_bytes(front))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        plain = ask(served, iter(chunks(200)))
        upload = form(("a", b"".join(chunks(64))), ("b", b"".join(chunks(65))))
        several = ask(served, upload, Content_Type=form_type())
    finally:
        done.set()
        watching.join()
    assert (plain.status, plain.json["size_bytes"]) == (200, 200 * MIB)
    assert [each["size_bytes"] for each in several.json["files"]] == [64 * MIB, 65 * MIB]
    assert most - before < 24 * MIB
    wait_until(lambda: served.metric("icapd_spool_bytes") == 0, "the spool is empty")
    assert list(tmp_path.glob(".icapd-*")) == []


def test_no_room_to_keep_it(serve: Serve, tmp_path: Path) -> None:
    spool = {
        "memory_bytes": 16 * KIB,
        "memfd_bytes": 128 * KIB,
        "total_memory_bytes": MIB,
        "total_disk_bytes": MIB,
        "directory": str(tmp_path),
    }
    served = serve({"spool": spool})
    assert ask(served, b"x" * MIB).status == 200
    answer = ask(served, b"x" * (MIB + 1))
    assert (answer.status, *answer.said("verdict", "outcome", "action")) == (503, "ERROR", "overloaded", "block")
    assert ([each["name"] for each in answer.json["findings"]], answer.headers["retry-after"]) == (
        ["spool-full"],
        "1",
    )
    assert ask(served, b"x" * (MIB + 1), "/scan?answer=status").status == 503
    upload = form(("a", b"small"), ("b", b"x" * (MIB + 1)), ("c", b"small too"))
    answer = ask(served, upload, Content_Type=form_type())
    assert (answer.status, answer.json["verdict"]) == (503, "ERROR")
    assert [each["verdict"] for each in answer.json["files"]] == ["CLEAN", "ERROR", "CLEAN"]
    wait_until(lambda: served.metric("icapd_spool_bytes") == 0, "the spool is empty")


def test_no_room_to_scan_it(serve: Serve) -> None:
    served = serve({"scanners": {"count": 1, "queue_tasks": 1}})
    with ThreadPoolExecutor(8) as asking:
        answers = list(asking.map(lambda number: ask(served, order("sleep", f"0.5 {number}")), range(8)))
    refused = [answer for answer in answers if answer.status == 503]
    scanned = [answer for answer in answers if answer.status == 200]
    assert len(refused) + len(scanned) == 8
    assert scanned
    assert refused
    assert {(answer.json["outcome"], answer.headers["retry-after"]) for answer in refused} == {("overloaded", "1")}
    assert {answer.json["verdict"] for answer in scanned} == {"CLEAN"}


def test_a_scanner_that_dies_is_no_verdict(server: Server) -> None:
    answer = ask(server, order("abort"))
    assert answer.status == 200
    assert answer.json["verdict"] in ("UNSCANNABLE", "ERROR")
    assert answer.json["action"] == "block"


def test_the_rest_of_a_refused_upload_is_read_for_a_while(server: Server) -> None:
    with server.connect() as client:
        client.sendall(head(8 * MIB))
        assert read_answer(client).status == 413
        for piece in chunks(8):
            client.sendall(piece)
