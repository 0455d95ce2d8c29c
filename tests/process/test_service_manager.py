"""A service manager's side: what it is told and when, the sockets it opens, the units that are shipped for it."""

from __future__ import annotations

import configparser
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.reloading import Rules, hang_up, reload
from tests.process.servers import CLEAN, ask, front_pids, request, verdict, wait_ready
from tests.support.engines import ROOT
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, environment
from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import wait_until
from tests.support.service_manager import Notification, Notifications, start_with_sockets

UNITS = ROOT / "conf/systemd"
EXPOSURE_MAX = 20
"""Tenths of the score of `systemd-analyze security`, at or below which it calls a unit OK."""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notifications]:
    notifications = Notifications(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", notifications.address)
    yield notifications
    notifications.close()


def is_ready(told: Notification) -> bool:
    return told.get("READY") == "1"


def test_a_life(serve: Serve, told: Notifications, tmp_path: Path) -> None:
    """Loading, ready, a reload, one that fails, the end. Nothing is ready before /readyz says so."""
    rules = Rules(tmp_path / "rules")
    server = rules.serve(serve)
    ready = told.wait_for(is_ready, "READY=1")
    assert ready > 0
    assert all(set(each) == {"STATUS"} for each in told.told[:ready])
    assert told.told[ready]["STATUS"].startswith("ready; ISTag ")

    rules.write("second")
    assert reload(server).result == "reloaded"
    begun = told.wait_for(lambda each: each.get("RELOADING") == "1", "RELOADING=1", ready)
    assert int(told.told[begun]["MONOTONIC_USEC"]) <= told_now_us()
    again = told.wait_for(is_ready, "READY=1 again", begun)
    assert told.told[again]["STATUS"].startswith("ready; reload reloaded; ISTag ")
    assert not any(is_ready(each) for each in told.told[ready + 1 : begun])

    rules.write_text("rule a { condition: nonsense }")
    hang_up(server)
    failed = told.wait_for(is_ready, "READY=1 after a reload that failed", again + 1)
    assert "ready; reload failed: " in told.told[failed]["STATUS"]
    assert "mark.yar:1: " in told.told[failed]["STATUS"]

    server.stop()
    end = told.wait_for(lambda each: each.get("STOPPING") == "1", "STOPPING=1", failed)
    assert not any(is_ready(each) for each in told.told[end:])
    assert not any("WATCHDOG" in each for each in told.told)


def told_now_us() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]) * 1e6) + 10_000


def test_the_watchdog_hears_of_us_only_while_fronts_answer(
    serve: Serve, told: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    server = serve({"timeouts": {"front_silent_s": 600}})
    told.wait_for(lambda each: "WATCHDOG" in each, "WATCHDOG=1")
    [front] = front_pids(server)
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & variables(front)
    server.stop()
    server = serve({"server": {"fronts": 2}, "timeouts": {"front_silent_s": 15}})
    fronts = front_pids(server)
    silenced_by(told, server.child.pid)
    silenced_by(told, *fronts)
    os.kill(fronts[0], signal.SIGSTOP)
    for _ in range(3):  # one of two that hangs is replaced by us, and the other serves on
        told.wait_for(lambda each: "WATCHDOG" in each, "WATCHDOG=1", len(told.read()))
    os.kill(fronts[0], signal.SIGCONT)


def silenced_by(told: Notifications, *pids: int) -> None:
    """Nothing is told while these hang, and all is well when they go on."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: is_silent(told), "no more WATCHDOG=1")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    told.wait_for(lambda each: "WATCHDOG" in each, "WATCHDOG=1 again", len(told.read()))


def variables(pid: int) -> set[str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return {line.partition("=")[0] for line in text.split("\0")}


def is_silent(told: Notifications) -> bool:
    """Nothing has come for three times as long as what was promised."""
    before = len(told.read())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.settimeout(1.2)
        waiting.bind("")
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    return len(told.read()) == before


def test_a_front_that_hangs_is_replaced(serve: Serve) -> None:
    """The other one serves on; what answers late, but answers, is left alone."""
    server = serve({"server": {"fronts": 2}, "scanners": {"count": 4}, "timeouts": {"front_silent_s": 2}})
    victim, other = front_pids(server)
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: victim not in front_pids(server), "it is killed")
    wait_ready(server)

    assert '"event":"front-silent"' in server.child.output()
    assert other in front_pids(server)
    assert {verdict(ask(server, CLEAN + b"%d" % number)) for number in range(8)} == {"CLEAN"}
    assert server.metric("icapd_front_deaths_total") == 1


def high(listener: socket.socket) -> socket.socket:
    """The same socket under a number that is not wanted for something else."""
    with listener:
        return socket.socket(fileno=fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 50))


@pytest.mark.parametrize("sockets", [1, 3], ids=["one for both fronts", "three of one address"])
def test_sockets_that_were_opened_before(tmp_path: Path, sockets: int) -> None:
    """They are used in the place of server.listen, by all fronts, and who connects during a restart is served."""
    port, admin_port = free_port(), free_port()
    listeners = [
        high(socket.create_server((LOOPBACK, port), backlog=100, reuse_port=sockets > 1)) for _ in range(sockets)
    ]
    admin = high(socket.create_server((LOOPBACK, admin_port)))
    argv = [ICAPD, "serve", "--set", 'engines.yara.rules=["conf/rules/eicar.yar"]', "--set", "server.fronts=2"]
    argv += ["--set", "log.access=off", "--listen", f"icap://{LOOPBACK}:{free_port()}"]
    names = [*["icap"] * sockets, "admin"]
    log = tmp_path / "icapd.log"
    with IcapClient((LOOPBACK, port)) as early:
        asked = request(CLEAN)
        early.send(asked.head(early.host) + asked.remainder())
        first = start_with_sockets(argv, [*listeners, admin], names, log, environment())
        try:
            assert early.read_reply().status in (200, 204)
            wait_until(lambda: served(port, 12) == {"CLEAN"}, "scanners are there", 60)
            assert f'"address":"{LOOPBACK}:{port}"' in log.read_text()
            assert accepts_connections(admin_port)
        finally:
            first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
    with IcapClient((LOOPBACK, port)) as between:
        between.send(asked.head(between.host) + asked.remainder())
        second = start_with_sockets(argv, [*listeners, admin], names, log, environment())
        try:
            assert between.read_reply().status in (200, 204)
        finally:
            second.send_signal(signal.SIGTERM)
            second.wait(60)
    for listener in (*listeners, admin):
        listener.close()


def served(port: int, count: int) -> set[str]:
    """The verdicts on so many bodies, each on a connection of its own."""
    verdicts = set()
    for number in range(count):
        with IcapClient((LOOPBACK, port)) as client:
            verdicts.add(verdict(client.exchange(request(CLEAN + b"%d" % number))))
    return verdicts


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((UNITS / name).read_text())
    return parser


def test_the_units_say_what_icapd_does() -> None:
    service, opened = unit("icapd.service")["Service"], unit("icapd.socket")["Socket"]

    assert service["Type"] == "notify"
    assert re.fullmatch(r"/\S+/icapd serve --config \S+", service["ExecStart"])
    assert service["ExecReload"] == service["ExecStart"].replace("serve", "reload")
    assert (service["KillMode"], service["OOMPolicy"]) == ("mixed", "continue")
    assert service["CapabilityBoundingSet"] == ""
    assert "MemoryDenyWriteExecute" not in service
    assert {service[key] for key in service if key.startswith(("Protect", "Private"))} <= {
        "yes", "strict", "invisible",
    }  # fmt: skip
    assert opened["ListenStream"] == "127.0.0.1:1344"
    assert opened["FileDescriptorName"] != "admin"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="the other test reads the units without systemd")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name in ("icapd.service", "icapd.socket"):
        (tmp_path / name).write_text((UNITS / name).read_text().replace("/opt/icapd/bin/icapd", ICAPD))
    paths = [str(tmp_path / name) for name in ("icapd.service", "icapd.socket")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("icapd.")]
    assert (done.returncode, said) == (0, [])
    subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", paths[0]],
        capture_output=True,
        timeout=60,
        check=True,
    )
