"""How a server ends, and what it leaves to the next one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, request, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.gates import open_gate
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, Icapd, environment
from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, wait_until
from tests.support.tree import descendants, wait_gone


def second(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`icapd serve` that is expected to refuse."""
    return subprocess.run(
        [ICAPD, "serve", "--set", 'engines.yara.rules=["conf/rules/eicar.yar"]', *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=30,
        check=False,
    )


def test_a_signal_to_all_drains_and_ends_with_0(serve: Serve, tmp_path: Path) -> None:
    """As Ctrl-C does, or a service manager: every process of the server gets the signal.

    After one it starts again on the same addresses: alive at once, ready when its rules are loaded.
    """
    server = serve()
    assert (server.admin("/readyz")[0], server.admin("/livez")) == (200, (200, "alive\n"))
    drains_and_ends(server, server.child, signal.SIGTERM, tmp_path / "one gate")
    seen: list[tuple[int, int]] = []
    with Child([ICAPD, "serve", "--config", str(server.configuration)], server.child.log, env=environment()) as child:

        def is_ready() -> bool:
            seen.append((server.admin("/readyz")[0], server.admin("/livez")[0]))
            return seen[-1][0] == 200

        child.wait_until(is_ready, "GET /readyz answers 200")
        drains_and_ends(server, child, signal.SIGINT, tmp_path / "other gate")

    assert (503, 200) in seen
    assert {readyz for readyz, livez in seen if livez == 200} == {503, 200}


def drains_and_ends(server: Icapd, child: Child, number: signal.Signals, gate: Path) -> None:
    """Sends the signal to all processes of the server, which `child` runs, and sees it end as it should."""
    pids = descendants(child.pid)
    with IcapClient(server.address) as idle, IcapClient(server.address) as busy, ThreadPoolExecutor(1) as asking:
        assert verdict(idle.exchange(request(CLEAN + number.name.encode()))) == "CLEAN"
        answer = asking.submit(busy.exchange, request(order("wait", gate)))
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        for pid in (*pids, child.pid):
            os.kill(pid, number)

        assert idle.read_until_closed() == b""
        wait_until(lambda: not accepts_connections(server.port), "the port is closed")
        assert server.admin("/readyz") == (503, "draining\n")
        assert server.admin("/livez")[0] == 200
        open_gate(gate)
        assert verdict(answer.result()) == "CLEAN"
    wait_until(lambda: child.exit_code is not None, "the end")

    assert child.exit_code == 0
    wait_gone(pids)
    assert "Traceback" not in child.output()
    assert server.access_lines(2, verdict="CLEAN")


def test_what_takes_too_long_is_cut_off(serve: Serve) -> None:
    server = serve({"timeouts": {"shutdown_s": 0.5}})
    pids = descendants(server.child.pid)
    with IcapClient(server.address) as client:
        asked = request(order("hang"))
        client.send(asked.head(client.host) + asked.remainder())
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")

        assert server.stop() == 0
    wait_gone(pids)
    assert '"cut-off"' in server.child.output()


@pytest.fixture(scope="module")
def unix_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a server that is gone has left its socket."""
    path = tmp_path_factory.mktemp("sockets") / "icapd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, unix_path: Path) -> Iterator[Icapd]:
    """A server that others run into. It ends well, and takes its Unix socket along."""
    port = free_port()
    listen = [f"icap://{LOOPBACK}:{port}", f"unix:{unix_path}"]
    overrides = {**EICAR_RULE_ALONE, "server": {"fronts": 2, "listen": listen}}
    with Icapd(tmp_path_factory.mktemp("standing"), overrides) as running:
        running.port = port
        yield running
        assert running.stop() == 0
        assert not unix_path.exists()


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_second_server_on_the_same_port_says_so(standing: Icapd, fronts: int) -> None:
    flags = ["--set", f"server.fronts={fronts}", "--listen", standing.url(""), "--admin"]
    done = second(*flags, f"http://{LOOPBACK}:{free_port()}")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"server.listen[0]: {standing.url('')}: Address already in use\n"
    done = second(*flags, standing.admin_url)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["server.listen[0]", "server.admin"]
    assert verdict(ask(standing, CLEAN)) == "CLEAN"


def test_unix_sockets(standing: Icapd, unix_path: Path) -> None:
    """Stale ones are replaced, a living server's is not, and neither is a file of somebody else."""
    for number in range(4):
        with IcapClient(str(unix_path)) as client:
            assert verdict(client.exchange(request(CLEAN + b"%d" % number))) == "CLEAN"

    done = second("--listen", f"unix:{unix_path}", "--admin", f"http://{LOOPBACK}:{free_port()}")
    assert done.returncode == 2
    assert done.stderr == f"server.listen[0]: unix:{unix_path}: another server listens there\n"
    with IcapClient(str(unix_path)) as client:
        assert verdict(client.exchange(request(CLEAN))) == "CLEAN"


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    done = second("--listen", f"unix:{path}", "--admin", f"http://{LOOPBACK}:{free_port()}")

    assert done.returncode == 2
    assert done.stderr == f"server.listen[0]: unix:{path}: a file that is no socket is there\n"
    assert path.read_text() == "kept"


def test_a_refused_start_leaves_no_socket(standing: Icapd, tmp_path: Path) -> None:
    path = tmp_path / "icapd.sock"
    done = second("--listen", f"unix:{path}", "--admin", standing.admin_url)

    assert (done.returncode, path.exists()) == (2, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no capabilities: every test here shows it")
def test_without_capabilities(tmp_path: Path) -> None:
    """Nothing in the server needs more than an ordinary user may, killing a scanner included.

    Root without capabilities stands for that user: the interpreter may lie where only root can read.
    """
    address = (LOOPBACK, free_port())
    argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, "-m", "icapd"]
    argv += [
        "serve",
        "--set",
        'engines.yara.rules=["conf/rules/eicar.yar"]',
        "--listen",
        f"icap://{LOOPBACK}:{address[1]}",
        "--admin",
        f"http://{LOOPBACK}:{free_port()}",
    ]
    with Child([*argv, "--set", "timeouts.scan_s=1"], tmp_path / "icapd.log", env=environment()) as child:
        child.wait_until(lambda: accepts_connections(address[1]), "it listens")
        assert "CapEff:\t0000000000000000" in Path(f"/proc/{child.pid}/status").read_text()
        with IcapClient(address) as client:
            wait_until(lambda: verdict(client.exchange(request(CLEAN))) == "CLEAN", "scanners are there")
            bodies = (order("hang"), EICAR, order("abort"), CLEAN + EICAR)
            verdicts = [verdict(client.exchange(request(body))) for body in bodies]
        assert child.stop() == 0

    assert verdicts == ["ERROR", "MALICIOUS", "UNSCANNABLE", "MALICIOUS"]
