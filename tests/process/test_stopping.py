"""How a server ends, and what it leaves to the next one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, request, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, environment
from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, wait_until
from tests.support.tree import descendants, wait_gone

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def second(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`icapd serve` that is expected to refuse."""
    return subprocess.run(
        [ICAPD, "serve", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_to_all_drains_and_ends_with_0(serve: Serve, tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C does, or a service manager: every process of the server gets the signal."""
    server = serve()
    gate = tmp_path / "gate"
    pids = descendants(server.child.pid)
    with IcapClient(server.address) as idle, IcapClient(server.address) as busy, ThreadPoolExecutor(1) as asking:
        assert verdict(idle.exchange(request(CLEAN))) == "CLEAN"
        answer = asking.submit(busy.exchange, request(order("wait", gate)))
        wait_until(lambda: server.metric("icapd_scanners", state="busy") == 1, "a scanner is busy")
        for pid in (*pids, server.child.pid):
            os.kill(pid, number)

        assert idle.read_until_closed() == b""
        wait_until(lambda: not accepts_connections(server.port), "the port is closed")
        assert server.admin("/readyz") == (503, "draining\n")
        assert server.admin("/livez")[0] == 200
        gate.touch()
        assert verdict(answer.result()) == "CLEAN"
    wait_until(lambda: server.child.exit_code is not None, "the end")

    assert server.child.exit_code == 0
    wait_gone(pids)
    assert "Traceback" not in server.child.output()
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


def test_readiness_follows_the_rules(serve: Serve) -> None:
    """A new process on the same addresses: not ready until its rules are loaded, alive from the first answer on."""
    server = serve()
    assert (server.admin("/readyz"), server.admin("/livez")) == ((200, "ready\n"), (200, "alive\n"))
    assert server.stop() == 0
    seen: list[tuple[int, int]] = []
    with Child([ICAPD, "serve", "--config", str(server.configuration)], server.child.log, env=environment()) as child:

        def is_ready() -> bool:
            seen.append((server.admin("/readyz")[0], server.admin("/livez")[0]))
            return seen[-1][0] == 200

        child.wait_until(is_ready, "GET /readyz answers 200")

    assert (503, 200) in seen
    assert {readyz for readyz, livez in seen if livez == 200} == {503, 200}


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_second_server_on_the_same_port_says_so(serve: Serve, fronts: int) -> None:
    server = serve({"server": {"fronts": fronts}})
    flags = ["--set", f"server.fronts={fronts}", "--listen", server.url(""), "--admin"]
    done = second(*flags, f"http://{LOOPBACK}:{free_port()}")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"server.listen[0]: {server.url('')}: Address already in use\n"
    done = second(*flags, server.admin_url)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["server.listen[0]", "server.admin"]
    assert verdict(ask(server, CLEAN)) == "CLEAN"


def test_unix_sockets(serve: Serve, tmp_path: Path) -> None:
    """Stale ones are replaced, a living server's is not, and neither is a file of somebody else."""
    path = tmp_path / "icapd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = serve({"server": {"listen": [f"unix:{path}"], "fronts": 2}})
    for number in range(4):
        with IcapClient(str(path)) as client:
            assert verdict(client.exchange(request(CLEAN + b"%d" % number))) == "CLEAN"

    done = second("--listen", f"unix:{path}", "--admin", f"http://{LOOPBACK}:{free_port()}")
    assert done.returncode == 2
    assert done.stderr == f"server.listen[0]: unix:{path}: another server listens there\n"
    with IcapClient(str(path)) as client:
        assert verdict(client.exchange(request(CLEAN))) == "CLEAN"

    assert server.stop() == 0
    assert not path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    done = second("--listen", f"unix:{path}", "--admin", f"http://{LOOPBACK}:{free_port()}")

    assert done.returncode == 2
    assert done.stderr == f"server.listen[0]: unix:{path}: a file that is no socket is there\n"
    assert path.read_text() == "kept"


def test_a_refused_start_leaves_no_socket(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    path = tmp_path / "icapd.sock"
    done = second("--listen", f"unix:{path}", "--admin", server.admin_url)

    assert (done.returncode, path.exists()) == (2, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no capabilities: every test here shows it")
def test_without_capabilities(tmp_path: Path) -> None:
    """Nothing in the server needs more than an ordinary user may, killing a scanner included.

    Root without capabilities stands for that user: the interpreter may lie where only root can read.
    """
    address = (LOOPBACK, free_port())
    argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, "-m", "icapd"]
    argv += ["serve", "--listen", f"icap://{LOOPBACK}:{address[1]}", "--admin", f"http://{LOOPBACK}:{free_port()}"]
    with Child([*argv, "--set", "timeouts.scan_s=1"], tmp_path / "icapd.log", env=environment()) as child:
        child.wait_until(lambda: accepts_connections(address[1]), "it listens")
        assert "CapEff:\t0000000000000000" in Path(f"/proc/{child.pid}/status").read_text()
        with IcapClient(address) as client:
            wait_until(lambda: verdict(client.exchange(request(CLEAN))) == "CLEAN", "scanners are there")
            bodies = (order("hang"), EICAR, order("abort"), CLEAN + EICAR)
            verdicts = [verdict(client.exchange(request(body))) for body in bodies]
        assert child.stop() == 0

    assert verdicts == ["ERROR", "MALICIOUS", "ERROR", "MALICIOUS"]
