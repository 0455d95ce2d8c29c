"""`icapd scan`: what it reads, what it says, how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from icapd.cli.files import open_body, walk
from icapd.config.schema import SpoolTable
from icapd.scan.spool import Spool
from tests.cli.command import EICAR_RULE_ALONE, Ended, icapd
from tests.support.eicar import EICAR
from tests.support.icapd import ICAPD, environment


def scan(*arguments: str | Path) -> Ended:
    return icapd("scan", *EICAR_RULE_ALONE, *arguments)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Five files, two of them malware, a pipe, and a link that leads out of the folder."""
    folder = tmp_path / "tree"
    (folder / "below" / "deeper").mkdir(parents=True)
    (folder / "clean.txt").write_bytes(b"hello\n" * 100)
    (folder / "empty").touch()
    (folder / "below" / "eicar.com").write_bytes(EICAR)
    (folder / "below" / "large.bin").write_bytes(b"large " * 100_000)
    with zipfile.ZipFile(folder / "below" / "deeper" / "packed.zip", "w") as packed:
        packed.writestr("inner/eicar.com", EICAR)
    os.mkfifo(folder / "pipe")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "eicar2.com").write_bytes(EICAR)
    (folder / "link").symlink_to(outside)
    return folder


def encrypted_zip(path: Path) -> Path:
    """A ZIP whose one member is marked as encrypted, and is not what its checksum says."""
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("secret.txt", b"x" * 50)
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data.replace(b"x" * 50, b"y" * 50))
    return path


def lines_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_tree_is_scanned_and_summed_up(tree: Path) -> None:
    ended = scan(tree)
    assert ended.status == 1
    *found, counts, seconds = ended.out.splitlines()
    assert len(found) == 2
    assert any(line.startswith(f"BLOCKED   {tree}/below/eicar.com: MALICIOUS, EICAR") for line in found)
    assert any(line.startswith(f"BLOCKED   {tree}/below/deeper/packed.zip: MALICIOUS, EICAR") for line in found)
    assert counts == "5 files · 3 CLEAN · 2 MALICIOUS · 2 blocked · skipped: 1 named pipe, 1 symbolic link"
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    assert seconds.startswith(f"{size} bytes in ")
    assert f"SKIPPED   {tree}/pipe: named pipe" in ended.err
    assert "outside" not in ended.out + ended.err


def test_modules_among_the_files_are_not_run(tmp_path: Path) -> None:
    for name in ("msgspec.py", "json.py", "icapd.py", "engines.py"):
        (tmp_path / name).write_text("raise SystemExit('run')\n")
    ended = icapd("scan", ".", cwd=tmp_path, ICAPD_ENGINES__YARA__RULES="conf/rules/eicar.yar")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("4 files · 4 CLEAN")


def test_json_has_a_line_for_each_file(tree: Path) -> None:
    ended = scan(tree, "--json", "--jobs", "3")
    assert ended.status == 1
    *files, last = lines_of(ended.out)
    by_name = {Path(line["path"]).name: line for line in files}
    assert set(by_name) == {"clean.txt", "empty", "eicar.com", "large.bin", "packed.zip"}
    eicar, packed, large = by_name["eicar.com"], by_name["packed.zip"], by_name["large.bin"]
    assert (eicar["verdict"], eicar["action"], eicar["rule"]) == ("MALICIOUS", "block", "malicious")
    assert eicar["findings"][0]["kind"] == "malware"
    assert ["inner/eicar.com"] in [finding["trail"] for finding in packed["findings"]]
    assert (large["verdict"], large["action"], large["size_bytes"]) == ("CLEAN", "allow", 600_000)
    assert large["sha256"] == hashlib.sha256(b"large " * 100_000).hexdigest()
    assert {"engine": "yara", "outcome": "FOUND", "reason": ""} in eicar["engines"]
    assert by_name["empty"]["verdict"] == "CLEAN"
    summary = last["summary"]
    assert (summary["files"], summary["unread"]) == (5, 0)
    assert summary["verdicts"] == {"CLEAN": 3, "MALICIOUS": 2}
    assert summary["actions"] == {"allow": 3, "block": 2}
    assert summary["skipped"] == {"named pipe": 1, "symbolic link": 1}


def test_clean_files_end_with_0_and_verbose_names_them(tree: Path) -> None:
    ended = scan(tree / "clean.txt", tree / "empty", "--verbose")
    assert ended.status == 0
    assert set(ended.out.splitlines()[:2]) == {
        f"ALLOWED   {tree}/clean.txt: CLEAN, by the rule clean",
        f"ALLOWED   {tree}/empty: CLEAN, by the rule clean",
    }


def test_policy_decides_what_is_blocked(tmp_path: Path) -> None:
    path = encrypted_zip(tmp_path / "locked.zip")
    balanced = scan(path)
    assert balanced.status == 0
    assert balanced.out.startswith(f"MONITORED {path}: UNSCANNABLE")
    strict = scan(path, "--policy", "strict")
    assert strict.status == 1
    assert strict.out.startswith(f"BLOCKED   {path}: UNSCANNABLE")


def test_rules_of_the_configuration_see_the_extension_and_the_service(tmp_path: Path) -> None:
    configuration = tmp_path / "icapd.toml"
    configuration.write_text(
        '[[policy]]\nname = "no-notes"\naction = "block"\nwhen = { extension = "note", service = "/scan" }\n'
    )
    (tmp_path / "a.NOTE").write_text("hello")
    (tmp_path / "b.txt").write_text("hello")
    ended = scan(tmp_path / "a.NOTE", tmp_path / "b.txt", "--config", configuration)
    assert ended.status == 1
    assert ended.out.splitlines()[0] == f"BLOCKED   {tmp_path}/a.NOTE: CLEAN, by the rule no-notes"
    assert "1 blocked" in ended.out


def test_a_size_that_policy_names_is_the_true_one(tmp_path: Path) -> None:
    configuration = tmp_path / "icapd.toml"
    configuration.write_text('[[policy]]\nname = "large"\naction = "block"\nwhen = { size_over_bytes = 70000 }\n')
    for name, size in (("at", 70_000), ("past", 70_001)):
        (tmp_path / name).write_bytes(b"x" * size)
    ended = scan(tmp_path / "at", tmp_path / "past", "--config", configuration, "--json")
    actions = {Path(line["path"]).name: line["action"] for line in lines_of(ended.out)[:-1]}
    assert actions == {"at": "allow", "past": "block"}


@pytest.mark.parametrize("others", [[], ["clean.txt"]], ids=["alone", "beside a clean file"])
def test_what_cannot_be_read_ends_with_3(tree: Path, others: list[str]) -> None:
    ended = scan(tree / "nowhere", *(tree / name for name in others), "--json")
    assert ended.status == 3
    assert f"UNREAD    {tree}/nowhere: No such file or directory" in ended.err
    lines = lines_of(ended.out)
    assert lines[0] == {"path": f"{tree}/nowhere", "error": "No such file or directory"}
    assert lines[-1]["summary"]["unread"] == 1
    assert lines[-1]["summary"]["files"] == len(others)


def test_blocked_outweighs_unread(tree: Path) -> None:
    assert scan(tree / "nowhere", tree / "below" / "eicar.com").status == 1


def test_quiet_says_nothing_but_errors(tree: Path) -> None:
    assert scan("--quiet", tree / "clean.txt")[:2] == (0, "")
    ended = scan("--quiet", "--json", tree, tree / "nowhere")
    assert ended[:2] == (1, "")
    assert "nowhere" in ended.err
    assert "pipe" not in ended.err


def test_a_wrong_policy_and_wrong_rules_end_with_2(tree: Path, tmp_path: Path) -> None:
    ended = scan(tree, "--policy", "lenient")
    assert ended[:2] == (2, "")
    assert ended.err.startswith("server.policy: ")
    (tmp_path / "broken.yar").write_text("rule broken\n{\n    condition: nonsense\n}\n")
    configuration = tmp_path / "icapd.toml"
    configuration.write_text('[engines.yara]\nrules = ["broken.yar"]\n')
    ended = icapd("scan", tree, "--config", configuration)
    assert ended[:2] == (2, "")
    assert "broken.yar" in ended.err


def test_names_that_are_no_text_are_shown_and_command_nothing(tmp_path: Path) -> None:
    (tmp_path / "red\x1b[31m\nline").write_bytes(EICAR)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.com")).write_bytes(EICAR)
    ended = scan(tmp_path)
    assert ended.status == 1
    assert f"BLOCKED   {tmp_path}/red\\x1b[31m\\nline: MALICIOUS" in ended.out
    assert f"BLOCKED   {tmp_path}/\\xff.com: MALICIOUS" in ended.out
    assert len(ended.out.splitlines()) == 4


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    """It comes when one file has been scanned; the next is a pipe's worth of work away from the end."""
    for index in range(2000):
        (tmp_path / f"{index:04}").write_bytes(b"%d" % index)
    process = subprocess.Popen(
        [ICAPD, "scan", *EICAR_RULE_ALONE, "--verbose", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**environment(), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"ALLOWED")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"files" not in out
    assert b"KeyboardInterrupt" not in err


def test_the_walk_is_in_order_and_follows_only_what_was_named(tree: Path) -> None:
    skipped: list[tuple[str, str]] = []
    unread: list[str] = []

    def on_skipped(path: str, kind: str) -> None:
        skipped.append((path, kind))

    def on_unread(path: str, error: OSError) -> None:
        unread.append(path)

    found = list(walk([str(tree), str(tree / "link"), "/dev/null", "/nonexistent"], on_skipped, on_unread))
    names = ["clean.txt", "empty", "below/eicar.com", "below/large.bin", "below/deeper/packed.zip", "link/eicar2.com"]
    assert found == [str(tree / name) for name in names]
    assert skipped == [(f"{tree}/link", "symbolic link"), (f"{tree}/pipe", "named pipe"), ("/dev/null", "device")]
    assert unread == ["/nonexistent"]


def test_deep_folders_are_walked(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    assert list(walk([str(tmp_path)], lambda path, kind: None, lambda path, error: None)) == [str(deep / "file")]


@pytest.mark.parametrize(("size", "in_memory"), [(0, True), (100, True), (101, False)])
def test_files_past_the_limit_stay_where_they_are(tmp_path: Path, size: int, in_memory: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    spool = Spool(SpoolTable())
    body = open_body(str(path), spool, 100)
    assert (body.is_in_memory, body.size_bytes, body.content()) == (in_memory, size, b"x" * size)
    body.release()
    assert (spool.bodies, spool.memory_bytes, spool.disk_bytes) == (0, 0, 0)


def test_a_pipe_in_a_files_place_does_not_hold_us_up(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="is a named pipe"):
        open_body(str(tree / "pipe"), Spool(SpoolTable()), 100)
    assert len(os.listdir("/proc/self/fd")) == before
