"""What a scanner cannot do, whatever a body makes of it: tried in real scanners.

Where a kernel lacks a step, the report must say so: then, and only then, may an attack come through.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from engines.yara import SPEC as YARA
from engines.yara import YaraOptions
from icapd.errors import LethalBody
from icapd.scan.model import Outcome
from tests.support.engines import order
from tests.support.reactor import wait_until
from tests.worker.conftest import Make
from tests.worker.scanners import MEMORY_BYTES, ScannerBench, puppet_snapshot


def in_force(bench: ScannerBench) -> set[str]:
    return {step.name for step in bench.nursery.sandbox if step.in_force}


def deaths(bench: ScannerBench, cause: str) -> float:
    return dict(bench.counters.values().get("icapd_scanner_deaths_total", [])).get((cause,), 0)


def attack(bench: ScannerBench, word: str, target: object = "") -> str:
    """What came of it: "killed", the reason of a refusal, or "did it: ..."."""
    before = deaths(bench, "sandbox")
    try:
        [report] = bench.scan(order("attack", f"{word} {target}".strip())).reports
    except LethalBody:  # two of them: one death may be chance
        wait_until(lambda: deaths(bench, "sandbox") == before + 2)
        return "killed"
    if report.outcome is Outcome.FAILED:
        return report.reason
    return f"did it: {report.findings[0].name}"


def test_every_step_says_whether_it_is_in_force(bench: ScannerBench) -> None:
    steps = {step.name: step for step in bench.nursery.sandbox}

    assert list(steps) == ["limits", "user", "privileges", "landlock", "seccomp", "namespaces"]
    assert {"limits", "user", "privileges"} <= in_force(bench)
    assert all(step.in_force or step.detail for step in steps.values())
    told = [line for line in bench.events if b'"sandbox-incomplete"' in line]
    assert len(told) == len({"landlock", "seccomp"} - in_force(bench))


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("inet-socket", ""),
        ("unix-socket", ""),
        ("fork", ""),
        ("execute", "/bin/true"),
        ("start", "/bin/true"),
        ("trace", "NURSERY"),
        ("kill", "NURSERY"),
        ("kill", "1"),
        ("kill", "-1"),
        ("read-memory", "NURSERY"),
        ("become-root", ""),
        ("new-namespace", ""),
    ],
)
def test_what_only_an_attack_does_ends_the_scanner(single: ScannerBench, word: str, target: str) -> None:
    nursery = single.nursery_pid
    came_of_it = attack(single, word, nursery if target == "NURSERY" else target)

    if "seccomp" in in_force(single):
        assert came_of_it == "killed"
        assert b'"reason":"the sandbox stopped it","signal":31' in single.events[-1]
    single.settle()
    assert single.nursery_pid == nursery
    assert single.found(order("find", "afterwards")) == "afterwards"


def test_no_connection_reaches_a_listener(single: ScannerBench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        came_of_it = attack(single, "connect", listener.getsockname()[1])
        if in_force(single) & {"seccomp", "landlock", "namespaces"}:
            assert not came_of_it.startswith("did it")
            with pytest.raises(BlockingIOError):
                listener.accept()
    single.settle()


@pytest.mark.parametrize(
    ("word", "target", "refusal"),
    [
        ("read", "/etc/shadow", "Permission denied"),
        ("read", "/etc/passwd", "Permission denied"),
        ("read", "/proc/1/environ", "Permission denied"),
        ("read", "/proc/self/environ", "Permission denied"),
        ("read", "/proc/PID/environ", "Permission denied"),
        ("read", __file__, "Permission denied"),
        ("list", "/", "Permission denied"),
        ("look", "/etc/shadow", "Permission denied"),
        ("write", "FOLDER/dropped", "Permission denied"),
        ("write", "/dev/shm/dropped", "Permission denied"),
        ("remove", "FOLDER/kept", "not permitted"),
        ("load-code", "", "cannot open shared object file"),
        ("make-code", "", "Permission denied"),
        ("memfd", "", "not permitted"),
        ("raise-limit", "", "not allowed to raise"),
    ],
)
def test_what_a_library_may_try_is_refused(
    single: ScannerBench, tmp_path: Path, word: str, target: str, refusal: str
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    before = single.scanner_pids
    came_of_it = attack(single, word, target.replace("FOLDER", str(tmp_path)).replace("PID", str(os.getpid())))

    if "seccomp" in in_force(single):
        assert refusal in came_of_it
    assert os.listdir(tmp_path) == ["kept"]
    assert not Path("/dev/shm/dropped").exists()
    assert single.scanner_pids == before


def test_a_hit_beside_an_attack_is_not_lost_with_it(single: ScannerBench) -> None:
    """A refusal is the engine's failure alone, and the next body's scan knows nothing of it."""
    [report] = single.scan(order("attack", "read /etc/shadow")).reports

    assert (report.engine, report.outcome) == ("puppet", Outcome.FAILED)
    assert single.found(order("find", "next")) == "next"


def test_a_large_body_cannot_be_changed(single: ScannerBench) -> None:
    """Its descriptor reads only, so that what is delivered is what was judged."""
    [report] = single.scan(order("deface", filling_bytes=2 * 1024 * 1024)).reports

    assert (report.outcome, report.reason) == (Outcome.FAILED, "PermissionError: [Errno 13] Permission denied")


@pytest.mark.parametrize("encoding", ["cp437", "shift_jis", "utf_7", "cp1251"])
def test_encodings_are_there_without_their_files(single: ScannerBench, encoding: str) -> None:
    assert single.found(order("decode", encoding)) == b"text".decode(encoding)


def test_a_body_on_disk_that_memory_would_not_take_is_scanned(make: Make, tmp_path: Path) -> None:
    """YARA-X opens it once more, as another user than the one whose file it is."""
    rules = tmp_path / "needle.yar"
    rules.write_text('rule Needle { strings: $a = "needle" condition: $a }')
    options = YaraOptions(rules=[str(rules)], backend="yara-x")
    bench = make(count=1, snapshot=puppet_snapshot(yara=(YARA, options)))
    reports = bench.scan(b"." * (2 * MEMORY_BYTES) + b"needle", scan_s=30).reports

    [outcome] = [report.outcome for report in reports if report.engine == "yara"]
    assert outcome is (Outcome.FOUND if "landlock" in in_force(bench) else Outcome.FAILED)


def test_without_a_sandbox_limits_alone_are_in_force(make: Make) -> None:
    bench = make(count=1, sandbox=False)

    assert in_force(bench) == {"limits"}
    assert attack(bench, "inet-socket").startswith("did it")
    assert attack(bench, "raise-limit").endswith("not allowed to raise maximum limit")


def test_an_unknown_user_and_root_are_refused(make: Make) -> None:
    if os.geteuid() != 0:
        assert in_force(make(user="no-such-user")) >= {"user"}  # nobody to change to is needed
        return
    for user in ("no-such-user", "root"):
        bench = make(user=user, waits=False)
        wait_until(lambda: bench.problems)  # noqa: B023 - called before the next one is made
        assert [problem.where for problem in bench.problems] == ["scanners.user"]


def test_required_starts_where_all_is_in_force_and_nowhere_else(make: Make) -> None:
    offered = in_force(make(count=1))
    bench = make(count=1, sandbox="required", waits=False)
    wait_until(lambda: bench.problems or bench.pool.is_ready)

    lacking = {"limits", "user", "privileges", "landlock", "seccomp"} - offered
    assert len(bench.problems) == len(lacking)
    assert bench.pool.is_ready is not bool(lacking)
