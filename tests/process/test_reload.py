"""Reloads: what is sound comes into force as a whole, what is not changes nothing and is told of."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.command import icapd
from tests.process.conftest import Serve
from tests.process.reloading import MARK, Rules, found, hang_up, reload, wait_for_event
from tests.process.servers import CLEAN, ask, front_pids, request, trees, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.gates import open_gate
from tests.support.icap_client import IcapClient
from tests.support.icapd import Icapd, to_toml
from tests.support.process import wait_until
from tests.support.tree import children, descendants


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    return Rules(tmp_path / "rules")


@pytest.fixture
def server(serve: Serve, rules: Rules) -> Icapd:
    return rules.serve(serve)


def rewrite(server: Icapd, old: str, new: str) -> None:
    text = server.configuration.read_text()
    assert old in text
    server.configuration.write_text(text.replace(old, new))


def test_new_rules_on_a_kept_connection(server: Icapd, rules: Rules) -> None:
    """Nobody is disconnected; the next request on the same connection is judged by the new rules."""
    [before] = trees(server)
    with IcapClient(server.address) as client:
        old = client.exchange(request(MARK))
        rules.write("second")
        ended = reload(server)
        new = client.exchange(request(MARK))

    assert (ended.result, ended.problems) == ("reloaded", [])
    assert (old.header("X-Virus-ID"), new.header("X-Virus-ID")) == ("first", "second")
    assert old.header("ISTag") != new.header("ISTag") == f'"{ended.istag}"'
    [after] = trees(server)
    assert (after.pid, after.nursery != before.nursery) == (before.pid, True)
    assert server.metric("icapd_reloads_total", result="reloaded") == 1
    assert server.metric("icapd_build_info", istag=ended.istag) == 1


def test_nothing_new_changes_nothing(server: Icapd) -> None:
    before, istag = descendants(server.child.pid), found(server)[0]
    since = server.metric("icapd_last_reload_success_timestamp_seconds")
    ended = reload(server)

    assert (ended.result, f'"{ended.istag}"') == ("unchanged", istag)
    wait_until(lambda: descendants(server.child.pid) == before, "the same processes")
    assert server.metric("icapd_reloads_total", result="unchanged") == 1
    assert server.metric("icapd_last_reload_success_timestamp_seconds") > since


def test_what_judges_nothing_leaves_rules_cache_and_istag_alone(server: Icapd) -> None:
    [before], [istag, _] = trees(server), found(server)
    rewrite(server, "[scanners]", "[timeouts]\nidle_s = 7\n[delivery]\ndrip_bytes = 5\n[scanners]")
    ended = reload(server)

    assert (ended.result, f'"{ended.istag}"') == ("reloaded", istag)
    assert trees(server) == [before]
    ask(server, MARK)
    assert server.access_lines(2)[-1]["cache"] == "memory"


def test_policy_services_and_clients_change(server: Icapd) -> None:
    rewrite(
        server,
        "[scanners]",
        to_toml({"service": [{"path": "/scan", "methods": ["RESPMOD"]}, {"path": "/new"}]})
        + '[[policy]]\nname = "mine"\naction = "allow"\nwhen = { finding = "first" }\n[scanners]',
    )
    with IcapClient(server.address) as client:
        old = client.exchange(request(MARK))
        assert reload(server).result == "reloaded"
        new = client.exchange(request(MARK))
        assert client.exchange(request(MARK, "/new")).status == 204
        gone = client.exchange(request(CLEAN, "/respmod"))

    assert (old.status, new.status, gone.status) == (200, 204, 404)
    assert old.header("ISTag") != new.header("ISTag")
    with IcapClient(server.address) as client:
        assert client.exchange(request(CLEAN)).status == 204
        rewrite(server, "[server]", '[server]\nallow_clients = ["192.0.2.0/24"]')
        assert reload(server).result == "reloaded"
        assert client.read_until_closed() == b""


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("rule a { condition: nonsense }", "mark.yar:1", "nonsense"),
        ("rule everything { condition: true }", "engines", "a harmless html sample is MALICIOUS: everything"),
        ("rule pictures { condition: uint32be(0) == 0x89504e47 }", "engines", "a harmless png sample is MALICIOUS"),
    ],
    ids=["broken", "everything", "one kind"],
)
def test_rules_that_must_not_go_live(server: Icapd, rules: Rules, text: str, where: str, what: str) -> None:
    before, old = descendants(server.child.pid), found(server)
    rules.write_text(text)
    ended = reload(server)

    assert (ended.result, f'"{ended.istag}"') == ("failed", old[0])
    assert any(place.endswith(where) and what in said for place, said in ended.problems)
    assert found(server, b" again") == old
    wait_until(lambda: descendants(server.child.pid) == before, "the same processes")
    assert server.metric("icapd_reloads_total", result="failed") == 1
    assert server.metric("icapd_last_reload_successful") == 0
    assert server.child.output().count('"event":"reload-problem"') == len(ended.problems)
    rules.write("second")
    assert reload(server).result == "reloaded"
    assert server.metric("icapd_last_reload_successful") == 1


def test_eicar_must_not_be_lost(server: Icapd, rules: Rules) -> None:
    rules.eicar.write_text("rule eicar { condition: false }")
    ended = reload(server)

    assert ended.result == "failed"
    assert [what for _, what in ended.problems] == [
        "the EICAR test file, which the rules in force find, is not found any more"
    ]
    assert verdict(ask(server, EICAR)) == "MALICIOUS"


def test_what_cannot_be_tried_is_said(serve: Serve) -> None:
    """Without an engine that finds EICAR nobody knows whether anything is found."""
    server = serve({"engines": {"yara": {"enabled": False}}})
    assert "that they detect anything at all is untested" in server.child.output()
    rewrite(server, "[scanners]", "[engines.archive]\nmax_depth = 3\n[scanners]")
    ended = reload(server)

    assert ended.result == "reloaded"
    assert ended.notes == [
        "no enabled engine finds the EICAR test file: that they detect anything at all is untested"
    ]


def test_everything_that_needs_a_restart_is_named(server: Icapd) -> None:
    text = server.configuration.read_text()
    text = text.replace("fronts = 1", "fronts = 3").replace("icap://127.0.0.1:", "icap://127.0.0.2:")
    text = text.replace("http://127.0.0.1:", "http://127.0.0.2:").replace("access.log", "other.log")
    server.configuration.write_text(text)
    ended = reload(server)

    assert ended.result == "failed"
    assert [where for where, _ in ended.problems] == [
        "server.listen", "server.admin", "server.fronts", "log.access",
    ]  # fmt: skip
    assert all("needs a restart" in what for _, what in ended.problems)


def test_the_command(server: Icapd, rules: Rules) -> None:
    where = ("--admin", server.admin_url)
    assert icapd("reload", "--config", server.configuration)[0] == 0
    rules.write("second")
    done = icapd("reload", *where)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"reloaded, ISTag {found(server)[0]}, ".replace('"', ""))
    rules.write_text("rule a { condition: nonsense }\nrule b { condition: rubbish }")
    done = icapd("reload", *where)

    assert (done.status, done.out) == (1, "")
    assert "mark.yar:1: " in done.err
    assert "mark.yar:2: " in done.err
    assert "failed. Nothing has changed" in done.err
    server.configuration.write_text("no toml")
    assert icapd("reload", *where).err.startswith(f"{server.configuration}, line 1: is not TOML")
    assert icapd("reload", "--config", server.configuration).status == 2
    server.stop()
    assert icapd("reload", *where).status == 3


def test_two_signals_at_once(server: Icapd, rules: Rules) -> None:
    """The second one comes after the first: what it is about may have come too late for that."""
    rules.write("second")
    hang_up(server)
    wait_for_event(server, "reloading")
    rules.write("third")
    hang_up(server)
    wait_for_event(server, "reloading", 2)
    with ThreadPoolExecutor(3) as asking:
        ended = [each.result() for each in [asking.submit(reload, server) for _ in range(3)]]

    assert {each.istag for each in ended} == {(found(server)[0] or "").strip('"')}
    assert found(server, b" by now")[1] == "third"
    assert sum(server.metric("icapd_reloads_total", result=each) for each in ("reloaded", "unchanged")) <= 4


def test_a_scan_under_way_ends_with_the_rules_it_began_with(server: Icapd, rules: Rules, tmp_path: Path) -> None:
    """Its scanners stay until then, and no longer."""
    gate = tmp_path / "gate"
    [before] = trees(server)
    body = order("wait", gate) + MARK
    with IcapClient(server.address) as client, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(client.exchange, request(body))
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        rules.write("second")
        assert reload(server).result == "reloaded"
        assert found(server)[1] == "second"
        assert len(children(front_pids(server)[0])) == 2
        open_gate(gate)
        assert answer.result().header("X-Virus-ID") == "first"
    [after] = trees(server)

    assert (after.pid, after.nursery != before.nursery) == (before.pid, True)


def test_an_upload_that_takes_longer_is_judged_by_what_is_in_force_at_its_end(server: Icapd, rules: Rules) -> None:
    """It keeps no old rules in memory, and the ISTag of its answer is that of the rules that judged it."""
    [before] = trees(server)
    with IcapClient(server.address) as client:
        asked = request(MARK)
        client.send(asked.head(client.host))
        wait_until(lambda: server.metric("icapd_open_connections") >= 1, "the request has begun")
        rules.write("second")
        assert reload(server).result == "reloaded"
        wait_until(lambda: before.nursery not in children(before.pid), "the old rules are gone")
        client.send(asked.remainder())
        reply = client.read_reply()

    assert (reply.header("ISTag"), reply.header("X-Virus-ID")) == found(server)
    assert reply.header("X-Virus-ID") == "second"


def test_while_it_drains(serve: Serve, rules: Rules, tmp_path: Path) -> None:
    """A server that is stopping reloads nothing, and stops in time."""
    server = rules.serve(serve)
    gate = tmp_path / "gate"
    with IcapClient(server.address) as client, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(client.exchange, request(order("wait", gate)))
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        rules.write("second")
        hang_up(server)
        wait_for_event(server, "reloading")
        server.child.send_signal(signal.SIGTERM)
        wait_for_event(server, "draining")
        ended = reload(server)
        assert (ended.result, ended.problems) == ("failed", [("reload", "the server is stopping")])
        open_gate(gate)
        assert verdict(answer.result()) == "CLEAN"
    wait_until(lambda: server.child.exit_code is not None, "the end")

    assert server.child.exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_heard(server: Icapd) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", _ASK, server.admin_url[7:]],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.stdout == "b''\n"
    assert server.metric("icapd_reloads_total") == 0


_ASK = """
import socket
import sys
asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asking.settimeout(10)
asking.connect("\\0icapd/" + sys.argv[1])
try:
    asking.send(b"x")
    print(asking.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""
