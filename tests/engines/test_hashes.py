"""Digest lists: what a list may look like, what a hit means, and what a million entries cost."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.archive import ArchiveOptions
from engines.archive.unpacker import ArchiveUnpacker
from engines.hashes import SPEC, HashesOptions
from engines.hashes.engine import NAME_BYTES, HashesEngine
from engines.hashes.lists import BLOCK_BYTES, LINE_BYTES, PROBLEMS_PER_FILE
from engines.hashes.table import REFERENCE_BYTES, Table, sort_rows
from icapd.scan.engine_api import ConfigurationError, Material
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity
from icapd.scan.tree import EngineSet, examine
from tests.engines.samples import zip_of

BAD = b"a body that is known to be bad"
GOOD = b"a body that is known to be good"
KINDS = ("sha256", "sha1", "md5")


def hexdigest(kind: str, content: bytes) -> str:
    return hashlib.new(kind, content).hexdigest()


def gather(folder: Path, deny: str | bytes = "", allow: str | bytes = "") -> Material:
    """What the engine reads from one deny and one allow list; an empty one is not configured."""
    lists: dict[str, list[str]] = {}
    for purpose, text in (("deny", deny), ("allow", allow)):
        if text:
            (folder / purpose).write_bytes(text if isinstance(text, bytes) else text.encode())
            lists[purpose] = [purpose]
    return SPEC.gather(HashesOptions.model_validate(lists), lambda entry: folder / entry)


def build(folder: Path, deny: str | bytes = "", allow: str | bytes = "") -> HashesEngine:
    return HashesEngine(gather(folder, deny, allow), timeout_s=20.0)


def problems(folder: Path, deny: str | bytes) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        gather(folder, deny)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def scan(engine: HashesEngine, data: bytes | mmap.mmap, *trail: str, time_s: float = 20.0) -> EngineReport:
    return engine.scan(Sample(data, trail=trail), Budget(time.monotonic() + time_s))


class TestScan:
    @pytest.mark.parametrize("kind", KINDS)
    def test_denied(self, tmp_path: Path, kind: str) -> None:
        engine = build(tmp_path, deny=hexdigest(kind, BAD))
        report = scan(engine, BAD, "a.zip", "b.exe")
        assert report.outcome is Outcome.FOUND
        assert report.findings == (
            Finding(
                FindingKind.MALWARE, f"hash:{kind}", "hashes", Severity.CRITICAL, ("a.zip", "b.exe"), certain=True
            ),
        )
        assert scan(engine, GOOD).outcome is Outcome.NOTHING_FOUND

    @pytest.mark.parametrize("kind", KINDS)
    def test_allowed(self, tmp_path: Path, kind: str) -> None:
        engine = build(tmp_path, allow=f"{hexdigest(kind, GOOD)}  installer.exe")
        report = scan(engine, GOOD, "a.zip", "b.exe")
        assert report.outcome is Outcome.FOUND
        assert report.findings == (
            Finding(FindingKind.ALLOWED, f"hash:{kind}", "hashes", Severity.INFO, ("a.zip", "b.exe"), certain=True),
        )
        assert scan(engine, BAD).outcome is Outcome.NOTHING_FOUND

    @pytest.mark.parametrize("denied", KINDS)
    @pytest.mark.parametrize("allowed", KINDS)
    def test_deny_beats_allow(self, tmp_path: Path, denied: str, allowed: str) -> None:
        engine = build(tmp_path, deny=hexdigest(denied, BAD), allow=hexdigest(allowed, BAD))
        (finding,) = scan(engine, BAD).findings
        assert finding.kind is FindingKind.MALWARE

    def test_no_lists_is_skipped(self, tmp_path: Path) -> None:
        assert scan(build(tmp_path), BAD).outcome is Outcome.SKIPPED

    def test_list_of_comments_is_skipped(self, tmp_path: Path) -> None:
        assert scan(build(tmp_path, deny="# nothing yet\n"), BAD).outcome is Outcome.SKIPPED

    def test_mapped_body(self, tmp_path: Path) -> None:
        (tmp_path / "body").write_bytes(BAD)
        engine = build(tmp_path, deny="\n".join(hexdigest(kind, BAD) for kind in KINDS[1:]))
        with (tmp_path / "body").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert scan(engine, mapped).outcome is Outcome.FOUND

    @pytest.mark.parametrize("time_s", [0.0, -1.0])
    def test_no_time_left(self, tmp_path: Path, time_s: float) -> None:
        engine = build(tmp_path, deny=hexdigest("md5", BAD))
        assert scan(engine, BAD, time_s=time_s).outcome is Outcome.TIMED_OUT

    @pytest.mark.parametrize("listed", KINDS)
    def test_only_listed_digests_are_computed(
        self, tmp_path: Path, listed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        computed = []
        real = hashlib.new

        def counting(name: str, data: bytes, *, usedforsecurity: bool) -> hashlib._Hash:
            computed.append(name)
            return real(name, data, usedforsecurity=usedforsecurity)

        engine = build(tmp_path, deny=hexdigest(listed, BAD))
        monkeypatch.setattr(hashlib, "new", counting)
        sample = Sample(GOOD, _sha256=hashlib.sha256(GOOD).digest())
        engine.scan(sample, Budget(time.monotonic() + 20))
        assert computed == ([] if listed == "sha256" else [listed])

    def test_an_allowed_member_is_spared_and_clears_nothing_else(self, tmp_path: Path) -> None:
        class Alarm:
            name = "alarm"

            def scan(self, sample: Sample, budget: Budget) -> EngineReport:
                return EngineReport(self.name, Outcome.FOUND, (Finding(FindingKind.MALWARE, "Any", self.name),))

        archive = zip_of({"good": GOOD, "bad": BAD})
        engines = EngineSet(
            engines=(Alarm(), build(tmp_path, allow=hexdigest("sha256", GOOD))),
            unpackers=(ArchiveUnpacker(ArchiveOptions()),),
        )
        examination = examine(Sample(archive), engines, Budget(time.monotonic() + 20))
        alarms = next(report for report in examination.reports if report.engine == "alarm").findings
        assert [finding.trail for finding in alarms] == [(), ("bad",)]


class TestLists:
    @pytest.mark.parametrize(
        ("line", "name"),
        [
            ("{}", "hash:sha256"),
            ("{} ", "hash:sha256"),
            ("{}\t", "hash:sha256"),
            ("{}  Win.Trojan.Example-1", "Win.Trojan.Example-1"),
            ("{} *setup.exe", "setup.exe"),
            ("{}\ttwo words ", "two words"),
            ("{}  # seen on Monday", "hash:sha256"),
            ("{}  naïve", "naïve"),
            ("{}  " + "n" * NAME_BYTES, "n" * NAME_BYTES),
            ("{}  " + "n" * (NAME_BYTES + 1), "n" * NAME_BYTES),
        ],
    )
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r\n\r\n# the end\r\n"])
    @pytest.mark.parametrize("start", ["", "\ufeff", "# a comment\n\n", f"{'0' * 64}  other\n"])
    @pytest.mark.parametrize("digits", [str.lower, str.upper])
    def test_line(self, tmp_path: Path, line: str, name: str, end: str, start: str, digits: type[str]) -> None:
        text = start + line.format(digits(hexdigest("sha256", BAD))) + end
        (finding,) = scan(build(tmp_path, deny=text), BAD).findings
        assert finding.name == name

    def test_mixed_kinds_over_several_files(self, tmp_path: Path) -> None:
        bodies = [f"body {number}".encode() for number in range(3)]
        for number, body in enumerate(bodies):
            lines = [f"{hexdigest(kind, body)}  {kind}-{number}" for kind in KINDS[number:]]
            (tmp_path / f"{number}.txt").write_text("\n".join(lines))
        options = HashesOptions(deny=[str(tmp_path / f"{number}.txt") for number in range(3)])
        engine = HashesEngine(SPEC.gather(options, Path), timeout_s=20.0)
        found = [finding.name for body in bodies for finding in scan(engine, body).findings]
        assert found == ["sha256-0", "sha1-1", "md5-2"]

    def test_lines_across_blocks(self, tmp_path: Path) -> None:
        bodies = [str(number).encode() for number in range(3 * BLOCK_BYTES // 75)]
        text = "".join(f"{hexdigest('sha256', body)}  n{body.decode()}\n" for body in bodies)
        assert len(text) > 2 * BLOCK_BYTES
        engine = build(tmp_path, deny=text)
        assert [scan(engine, body).findings[0].name for body in bodies] == [f"n{body.decode()}" for body in bodies]

    def test_order_of_lines_does_not_change_the_material(self, tmp_path: Path) -> None:
        lines = [hexdigest("sha256", bytes([number])) for number in range(256)]
        assert gather(tmp_path, "\n".join(lines)) == gather(tmp_path, "\n".join(reversed(lines)))

    @pytest.mark.parametrize(
        "bad",
        [
            "deadbeef",
            "0" * 31,
            "0" * 33,
            "0" * 63,
            "0" * 65,
            "g" * 64,
            "0" * 63 + "g",
            "0" * 64 + ",name",
            "0" * 64 + "-name",
            " " + "0" * 64,
            "0" * 32 + "é",
            "<html>",
        ],
    )
    def test_bad_line_is_named(self, tmp_path: Path, bad: str) -> None:
        text = f"{'1' * 64}\n# comment\n{bad}\n{'2' * 32}\n{bad}"
        first, second = problems(tmp_path, text)
        assert first.startswith("deny:3: no SHA-256, SHA-1 or MD5 digest: ")
        assert second.startswith("deny:5: ")

    def test_bad_line_in_a_later_block_is_numbered_right(self, tmp_path: Path) -> None:
        count = BLOCK_BYTES // 65 * 2
        (problem,) = problems(tmp_path, ("1" * 64 + "\n") * count + "oops\n")
        assert problem.startswith(f"deny:{count + 1}: ")

    @pytest.mark.parametrize("count", [PROBLEMS_PER_FILE, PROBLEMS_PER_FILE + 1])
    def test_problems_of_one_file_are_capped(self, tmp_path: Path, count: int) -> None:
        assert len(problems(tmp_path, "bad\n" * count)) == PROBLEMS_PER_FILE

    @pytest.mark.parametrize("before", ["", ("1" * 64 + "\n") * (BLOCK_BYTES // 65)], ids=["first block", "across"])
    @pytest.mark.parametrize("end", ["", "\n" + "2" * 64], ids=["last line", "middle line"])
    def test_line_length(self, tmp_path: Path, before: str, end: str) -> None:
        longest = "3" * 64 + " " + "n" * (LINE_BYTES - 65)
        assert gather(tmp_path, before + longest + end)
        first = problems(tmp_path, before + longest + "n" + end)[0]
        assert first == f"deny:{before.count(chr(10)) + 1}: a line of more than {LINE_BYTES} bytes"

    def test_binary_file_without_lines(self, tmp_path: Path) -> None:
        assert problems(tmp_path, bytes(2 * BLOCK_BYTES))[0].startswith("deny:1: ")

    def test_unreadable_files_are_told_together(self, tmp_path: Path) -> None:
        options = HashesOptions(deny=[str(tmp_path / "gone")], allow=[str(tmp_path)])
        with pytest.raises(ConfigurationError) as caught:
            SPEC.gather(options, Path)
        assert [str(problem) for problem in caught.value.problems] == [
            f"{tmp_path}/gone: No such file or directory",
            f"{tmp_path}: Is a directory",
        ]


class TestTable:
    @pytest.mark.parametrize("shared_bytes", [2, 8, 31])
    def test_a_shared_prefix_is_no_hit(self, shared_bytes: int) -> None:
        prefix = b"\xab" * shared_bytes
        listed = [prefix + bytes([number]) + bytes(31 - shared_bytes) for number in range(0, 200, 2)]
        missing = [prefix + bytes([number]) + bytes(31 - shared_bytes) for number in range(1, 200, 2)]
        table = _table(listed)
        assert [table.reference(digest) for digest in listed] == list(range(1, 101))
        assert [table.reference(digest) for digest in missing] == [None] * 100

    def test_digest_across_two_rows_is_no_hit(self) -> None:
        first, second = bytes(16) + b"\1" * 16, bytes(16) + b"\2" * 16
        table = _table([first, second])
        rows = first + (1).to_bytes(REFERENCE_BYTES, "big") + second
        assert len(rows) == 68
        assert [table.reference(rows[at : at + 32]) for at in range(37)] == [1, *[None] * 35, 2]

    def test_digests_ending_in_zero_bytes(self) -> None:
        digests = [bytes(32), b"\xff" * 32, b"\1" + bytes(31), b"\1\0\1" + bytes(29)]
        table = _table(digests)
        assert [table.reference(digest) for digest in digests] == [1, 2, 3, 4]
        assert len(table) == 4

    def test_agrees_with_a_set(self) -> None:
        source = random.Random(7)
        listed = [bytes([source.randrange(4), source.randrange(4)]) + source.randbytes(30) for _ in range(2000)]
        table = _table(listed)
        assert all(table.reference(digest) is not None for digest in listed)
        others = (bytes([source.randrange(5), source.randrange(5)]) + source.randbytes(30) for _ in range(2000))
        assert all(table.reference(digest) is None for digest in others)


def _table(digests: list[bytes]) -> Table:
    """A table whose references count the digests from 1."""
    rows = bytearray(b"".join(digest + (at + 1).to_bytes(4, "big") for at, digest in enumerate(digests)))
    sort_rows(rows, "sha256")
    return Table(bytes(rows), "sha256")


def test_a_million_digests_are_cheap(tmp_path: Path) -> None:
    count = 1_000_000
    text = os.urandom(32 * count).hex()
    with (tmp_path / "list").open("w") as file:
        file.writelines(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))
    command = [sys.executable, "-m", "tests.engines.hash_list_cost", str(tmp_path / "list")]
    cost = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    assert cost["rows"] == count
    assert cost["added_mb"] < 100
    assert cost["cpu_s"] < 3  # 0.5 on an idle machine; the bound catches a statement a line, not a busy neighbour
