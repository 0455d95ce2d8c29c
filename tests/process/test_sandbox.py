"""A server whose scanners are attacked from within: each attack is stopped, answered and counted, and nothing else is
hurt. What is in force is told by /readyz, a metric, the kernel's own view of the scanners, and they agree.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, EICAR_RULE_ALONE, ask, trees, verdict
from tests.support.eicar import EICAR
from tests.support.engines import order
from tests.support.icapd import Icapd
from tests.support.process import wait_until

STEPS = ["limits", "user", "privileges", "landlock", "seccomp", "namespaces"]
REFUSED = ("write", "read")
"""What fails; the other attacks end the scanner, and the second one that has its turn."""
MiB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    overrides = {**EICAR_RULE_ALONE, "server": {"fronts": 2}, "scanners": {"count": 4}}
    with Icapd(tmp_path_factory.mktemp("sandbox"), overrides) as running:
        yield running


def told_steps(server: Icapd) -> dict[str, bool]:
    """What /readyz says of each step."""
    status, text = server.admin("/readyz")
    first, *lines = text.splitlines()
    assert (status, first) == (200, "ready")
    words = [line.removeprefix("sandbox ").partition(": ") for line in lines]
    return {name: not said.startswith("not in force") for name, _, said in words}


def kernels_view(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def test_readyz_the_metric_and_the_kernel_agree(server: Icapd) -> None:
    steps = told_steps(server)

    assert list(steps) == STEPS
    assert {name: server.metric("icapd_sandbox", step=name) for name in STEPS} == {
        name: float(in_force) for name, in_force in steps.items()
    }
    for tree in trees(server, 2, 2):
        for pid in tree.scanners:
            status = kernels_view(pid)
            assert steps["seccomp"] is (status["Seccomp"] == ["2"])
            assert steps["privileges"] is (status["NoNewPrivs"] == ["1"])
            assert {int(status[kind][0], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
            if os.geteuid() == 0:
                assert int(status["CapBnd"][0], 16) == 0
                assert status["Groups"] == []
            assert steps["user"] is ("0" not in status["Uid"])
            assert len(set(status["Uid"])) == len(set(status["Gid"])) == 1


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("inet-socket", ""),
        ("unix-socket", ""),
        ("connect", "PORT"),
        ("fork", ""),
        ("execute", "/bin/true"),
        ("trace", "FRONT"),
        ("kill", "FRONT"),
        ("read-memory", "FRONT"),
        ("write", "FOLDER/dropped"),
        ("read", "/etc/shadow"),
        ("read", "/proc/FRONT/environ"),
    ],
)
def test_an_attack_is_blocked_and_costs_nobody_else_anything(
    server: Icapd, tmp_path: Path, word: str, target: str
) -> None:
    fronts = [tree.pid for tree in trees(server, 2, 2)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        target = target.replace("PORT", str(listener.getsockname()[1])).replace("FRONT", str(fronts[0]))
        reply = ask(server, order("attack", f"{word} {target}".replace("FOLDER", str(tmp_path)).strip()))
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert told_steps(server)["seccomp"]
    assert (reply.status, reply.http_status) == (200, 403)
    assert verdict(reply) == ("ERROR" if word in REFUSED else "UNSCANNABLE")
    assert os.listdir(tmp_path) == []
    for number in range(4):
        assert verdict(ask(server, CLEAN + b"%d" % number)) == "CLEAN"
    assert verdict(ask(server, EICAR)) == "MALICIOUS"
    assert [tree.pid for tree in trees(server, 2, 2)] == fronts


def test_deaths_in_the_sandbox_are_no_crashes(server: Icapd) -> None:
    before = {cause: server.metric("icapd_scanner_deaths_total", cause=cause) for cause in ("sandbox", "crash")}
    ask(server, order("attack", "fork again"))
    wait_until(
        lambda: server.metric("icapd_scanner_deaths_total", cause="sandbox") == before["sandbox"] + 2, "it counts"
    )
    ask(server, order("abort", "again"))
    wait_until(lambda: server.metric("icapd_scanner_deaths_total", cause="crash") == before["crash"] + 2, "it counts")

    assert server.metric("icapd_scanner_deaths_total", cause="sandbox") == before["sandbox"] + 2
    assert '"reason":"the sandbox stopped it","signal":31' in server.child.output()


@pytest.mark.parametrize("size_bytes", [1 * MiB - 1, 3 * MiB, 20 * MiB])
def test_bodies_in_memory_in_memfds_and_on_disk_are_scanned(server: Icapd, size_bytes: int) -> None:
    """Large ones are opened again by YARA-X; those on disk belong to the server's user, not to the scanner's."""
    body = (b"An ordinary line.\n" * (size_bytes // 18 + 1))[:size_bytes]

    assert verdict(ask(server, body)) == "CLEAN"
    assert server.access_lines(1, verdict="CLEAN", body_bytes=size_bytes)[0]["findings"] == []


def test_a_switched_off_sandbox_is_told(serve: Serve) -> None:
    server = serve({"scanners": {"sandbox": False}})

    assert told_steps(server) == {name: name == "limits" for name in STEPS}
    assert {name for name in STEPS if server.metric("icapd_sandbox", step=name)} == {"limits"}
