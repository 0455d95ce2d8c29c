"""The YARA engine: what it reads, what it refuses, what a match means, and that it keeps its time."""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from engines.yara import SPEC, YaraOptions
from engines.yara.compilers import NO_INCLUDE, PROBLEMS_PER_FILE, Backend
from engines.yara.engine import YaraEngine
from engines.yara.rulesets import COPIED_BYTES_MAX, RuleInfo, RuleKey, Ruleset, RulesetFailed, _ticks
from icapd.scan.engine_api import ConfigurationError, Engine
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity
from tests.engines.forked_scan import built_of_compiled
from tests.engines.mapped_scan import sparse_body
from tests.engines.slow_content import SLOW_CONTENT, SLOW_RULE

BACKENDS: tuple[Backend, ...] = ("yara-x", "yara")
NEEDLE = 'rule needle { strings: $a = "needle" condition: $a }'
ONLY_YARA = 'rule short_base64 { strings: $a = "ab" base64 condition: $a }'
"""YARA-X refuses base64 of fewer than three bytes."""
ONLY_YARA_X = "rule with_clause { condition: with size = filesize : ( size == 3 ) }"
EVERY = ("auto", *BACKENDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "rules"


def build(folder: Path, backend: Backend = "auto", timeout_s: float = 20.0, **files: str) -> YaraEngine:
    """An engine over files given as name=source, built as nurseries do; a name has no suffix."""
    folder.mkdir(exist_ok=True)
    for name, source in files.items():
        (folder / f"{name}.yar").write_text(source)
    options = YaraOptions(rules=[str(folder)], backend=backend, timeout_s=timeout_s)
    return built_of_compiled(options, SPEC.gather(options, Path))


def problems(folder: Path, backend: Backend = "auto", **files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        build(folder, backend, 20.0, **files)
    options = YaraOptions(rules=[str(folder)], backend=backend)
    with pytest.raises(ConfigurationError) as uncompiled:
        SPEC.build(options, SPEC.gather(options, Path))
    assert uncompiled.value.problems == caught.value.problems
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def scan(engine: Engine, data: bytes | mmap.mmap, *trail: str, time_s: float = 20.0) -> EngineReport:
    return engine.scan(Sample(data, trail=trail), Budget(time.monotonic() + time_s))


def names(report: EngineReport) -> list[str]:
    return [finding.name for finding in report.findings]


KEY = ("a.yar", "needle")


class _NoRules(Ruleset):
    def rules(self) -> Iterator[RuleInfo]:
        return iter(())


class _Matching(_NoRules):
    def match(self, sample: Sample, time_s: float) -> list[RuleKey]:
        return [KEY]


class _Broken(_NoRules):
    def match(self, sample: Sample, time_s: float) -> list[RuleKey]:
        raise RulesetFailed("yara-x: out of memory")


class TestScan:
    @pytest.mark.parametrize("backend", EVERY)
    def test_hit_and_miss(self, folder: Path, backend: Backend) -> None:
        engine = build(folder, backend, a=NEEDLE)
        report = scan(engine, b"hay needle hay", "outer.zip", "inner.txt")
        assert report.outcome is Outcome.FOUND
        assert report.findings == (
            Finding(FindingKind.MALWARE, "needle", "yara", Severity.HIGH, ("outer.zip", "inner.txt")),
        )
        miss = scan(engine, b"hay")
        assert (miss.outcome, miss.findings) == (Outcome.NOTHING_FOUND, ())
        assert miss.elapsed_s > 0

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_empty_body(self, folder: Path, backend: Backend) -> None:
        assert names(scan(build(folder, backend, a="rule hollow { condition: filesize == 0 }"), b"")) == ["hollow"]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_mapped_body(self, folder: Path, tmp_path: Path, backend: Backend) -> None:
        path = tmp_path / "body"
        path.write_bytes(b"." * 100_000 + b"needle")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert names(scan(build(folder, backend, a=NEEDLE), mapped)) == ["needle"]

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("size_bytes", [COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1])
    def test_body_with_a_descriptor(self, folder: Path, backend: Backend, size_bytes: int) -> None:
        engine = build(folder, backend, a=NEEDLE)
        with sparse_body(size_bytes, b"needle") as (descriptor, mapped):
            sample = Sample(mapped, trail=("a.bin",), descriptor=descriptor)
            (finding,) = engine.scan(sample, Budget(time.monotonic() + 20.0)).findings
            assert (finding.name, finding.trail) == ("needle", ("a.bin",))
            member = sample.member(b"hay" * COPIED_BYTES_MAX, "inner.txt")
            assert engine.scan(member, Budget(time.monotonic() + 20.0)).outcome is Outcome.NOTHING_FOUND

    def test_only_large_bodies_are_read_through_the_descriptor(self, folder: Path) -> None:
        engine = build(folder, "yara-x", a=NEEDLE)
        small, large = bytes(COPIED_BYTES_MAX), bytes(COPIED_BYTES_MAX + 1)
        with sparse_body(len(large), b"needle") as (descriptor, _):
            outcomes = [
                engine.scan(Sample(data, descriptor=descriptor), Budget(time.monotonic() + 20.0)).outcome
                for data in (small, large)
            ]
        assert outcomes == [Outcome.NOTHING_FOUND, Outcome.FOUND]

    @pytest.mark.parametrize("backend", EVERY)
    def test_large_body_is_not_copied(self, folder: Path, backend: Backend) -> None:
        folder.mkdir()
        (folder / "a.yar").write_text(NEEDLE)
        command = [sys.executable, "-m", "tests.engines.mapped_scan", str(folder), backend]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        told = json.loads(done.stdout)
        assert told["outcomes"] == ["FOUND", "NOTHING_FOUND"]
        assert told["copy"] == "refused"

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_nothing_stays_from_the_sample_before(self, folder: Path, backend: Backend) -> None:
        engine = build(folder, backend, a=NEEDLE)
        assert [len(scan(engine, data).findings) for data in (b"needle", b"hay", b"needle", b"")] == [1, 0, 1, 0]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_private_rules_are_not_reported(self, folder: Path, backend: Backend) -> None:
        engine = build(folder, backend, a="private rule inner { condition: true } rule outer { condition: inner }")
        assert names(scan(engine, b"x")) == ["outer"]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_global_rule_binds_its_own_file_only(self, folder: Path, backend: Backend) -> None:
        small = "global private rule small { condition: filesize < 3 } rule a { condition: true }"
        engine = build(folder, backend, a=small, b="rule b { condition: true }")
        assert names(scan(engine, b"12")) == ["a", "b"]
        assert names(scan(engine, b"123")) == ["b"]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_modules(self, folder: Path, backend: Backend) -> None:
        source = """
            import "pe" import "elf" import "math" import "hash"
            rule is_elf { condition: elf.machine == elf.EM_X86_64 }
            rule is_pe { condition: pe.is_pe }
            rule is_random { condition: math.entropy(0, filesize) > 7.9 }
            rule is_known { condition: hash.md5(0, filesize) == "900150983cd24fb0d6963f7d28e17f72" }
        """
        engine = build(folder, backend, a=source)
        elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1) + bytes(140)
        pe = (
            b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HHIIIHH", 0x14C, 0, 0, 0, 0, 224, 2)
        )
        assert names(scan(engine, elf)) == ["is_elf"]
        assert names(scan(engine, pe + struct.pack("<H", 0x10B) + bytes(300))) == ["is_pe"]
        assert names(scan(engine, bytes(range(256)) * 16)) == ["is_random"]
        assert names(scan(engine, b"abc")) == ["is_known"]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_console_and_warnings_stay_inside(
        self, folder: Path, backend: Backend, capfd: pytest.CaptureFixture[str]
    ) -> None:
        source = 'import "console" rule talks { strings: $a = "aaaa" condition: console.log("hi") and #a > 5 }'
        assert names(scan(build(folder, backend, a=source), b"a" * 2_000_000)) == ["talks"]
        assert capfd.readouterr() == ("", "")

    def test_failure_is_told_and_the_other_ruleset_s_hits_stay(self) -> None:
        hit = Finding(FindingKind.MALWARE, "needle", "yara")
        engine = YaraEngine([_Broken(), _Matching()], {KEY: hit}, timeout_s=20.0)
        report = scan(engine, b"x")
        assert (report.outcome, report.reason) == (Outcome.FAILED, "yara-x: out of memory")
        assert report.findings == (hit,)

    def test_no_rules_is_skipped(self) -> None:
        options = YaraOptions(rules=[])
        engine = SPEC.build(options, SPEC.gather(options, Path))
        assert isinstance(engine, YaraEngine)
        assert scan(engine, b"x").outcome is Outcome.SKIPPED


class TestMeaning:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize(
        ("head", "kind", "severity"),
        [
            ("rule r", FindingKind.MALWARE, Severity.HIGH),
            ('rule r { meta: kind = "suspicious"', FindingKind.SUSPICIOUS, Severity.MEDIUM),
            ('rule r { meta: kind = "Forbidden" severity = "Critical"', FindingKind.FORBIDDEN, Severity.CRITICAL),
            ('rule r { meta: kind = "info"', FindingKind.INFO, Severity.INFO),
            ("rule r : apt low", FindingKind.MALWARE, Severity.LOW),
            ("rule r : SUSPICIOUS", FindingKind.SUSPICIOUS, Severity.MEDIUM),
            ('rule r : forbidden low { meta: severity = "high"', FindingKind.FORBIDDEN, Severity.HIGH),
            ('rule r : suspicious { meta: kind = "malware"', FindingKind.MALWARE, Severity.HIGH),
            ("rule r { meta: severity = 0", FindingKind.MALWARE, Severity.INFO),
            ("rule r { meta: severity = 1", FindingKind.MALWARE, Severity.LOW),
            ("rule r { meta: severity = 21", FindingKind.MALWARE, Severity.LOW),
            ("rule r { meta: severity = 22", FindingKind.MALWARE, Severity.MEDIUM),
            ("rule r { meta: severity = 73", FindingKind.MALWARE, Severity.HIGH),
            ("rule r { meta: severity = 74", FindingKind.MALWARE, Severity.CRITICAL),
            ("rule r { meta: severity = 100", FindingKind.MALWARE, Severity.CRITICAL),
        ],
    )
    def test_kind_and_severity(
        self, folder: Path, backend: Backend, head: str, kind: FindingKind, severity: Severity
    ) -> None:
        source = f"{head}{'' if '{' in head else ' {'} condition: true }}"
        (finding,) = scan(build(folder, backend, a=source), b"x").findings
        assert (finding.kind, finding.severity) == (kind, severity)

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize(
        ("meta", "told"),
        [
            ('severity = "urgent"', "severity 'urgent' is none of info, low, medium, high, critical"),
            ("severity = 101", "severity 101 is none of"),
            ("severity = true", "severity True is none of"),
            ('kind = "trojan"', "kind 'trojan' is none of malware, suspicious, forbidden, info"),
            ("kind = 3", "kind 3 is none of"),
        ],
    )
    def test_bad_value_names_file_line_and_rule(self, folder: Path, backend: Backend, meta: str, told: str) -> None:
        (problem,) = problems(folder, backend, a=f"{NEEDLE}\n\nrule odd {{ meta: {meta} condition: true }}")
        assert problem.startswith(f"a.yar:3: rule odd: {told}")

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_one_name_in_two_files(self, folder: Path, backend: Backend) -> None:
        low = 'rule same { meta: severity = "low" condition: true }'
        engine = build(folder, backend, a="rule same { condition: true } rule one { condition: true }", b=low)
        found = scan(engine, b"x").findings
        assert [(finding.name, finding.severity) for finding in found] == [
            ("a:same", Severity.HIGH),
            ("one", Severity.HIGH),
            ("b:same", Severity.LOW),
        ]


class TestRuleFiles:
    def test_folders_files_and_suffixes(self, folder: Path) -> None:
        (folder / "deep").mkdir(parents=True)
        for name in ("b.yar", "a.yara", "deep/c.yar", "notes.txt", "named.rules"):
            (folder / name).write_text(NEEDLE)
        options = YaraOptions(rules=["rules", "rules/named.rules", "rules/b.yar"])
        material = SPEC.gather(options, lambda entry: folder.parent / entry)
        assert list(material) == [f"rules/{name}" for name in ("a.yara", "b.yar", "deep/c.yar", "named.rules")]

    def test_names_do_not_tell_where_the_configuration_lies(self, tmp_path: Path) -> None:
        for base in ("one", "other"):
            (tmp_path / base / "rules" / "deep").mkdir(parents=True)
            (tmp_path / base / "rules" / "deep" / "c.yar").write_text(NEEDLE)
            (tmp_path / base / "a.yar").write_text(NEEDLE)
        options = YaraOptions(rules=["rules/", "./a.yar"])
        one, other = (SPEC.gather(options, (tmp_path / base).joinpath) for base in ("one", "other"))
        assert one == other
        assert list(one) == ["a.yar", "rules/deep/c.yar"]

    def test_every_bad_path_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        options = YaraOptions(rules=[str(tmp_path / "empty"), str(tmp_path / "gone.yar")])
        with pytest.raises(ConfigurationError) as caught:
            SPEC.gather(options, Path)
        assert [str(problem) for problem in caught.value.problems] == [
            f"{tmp_path}/empty: no rule file here (*.yar, *.yara)",
            f"{tmp_path}/gone.yar: no such file",
        ]

    def test_build_reads_no_file(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "a.yar").write_text(NEEDLE)
        options = YaraOptions(rules=[str(folder)])
        material = SPEC.gather(options, Path)
        (folder / "a.yar").unlink()
        engine = SPEC.build(options, material)
        assert isinstance(engine, YaraEngine)
        assert names(scan(engine, b"needle")) == ["needle"]

    def test_byte_order_mark(self, folder: Path) -> None:
        assert names(scan(build(folder, a="\ufeff" + NEEDLE), b"needle")) == ["needle"]


class TestRefusals:
    def test_auto_gives_yara_only_what_yara_x_refuses(self, folder: Path) -> None:
        engine = build(folder, a=NEEDLE, b=ONLY_YARA, c=ONLY_YARA_X)
        assert names(scan(engine, b"needle YWIx")) == ["needle", "short_base64"]
        assert names(scan(engine, b"123")) == ["with_clause"]

    def test_each_backend_alone_refuses(self, folder: Path) -> None:
        (of_x,) = problems(folder, "yara-x", a=ONLY_YARA)
        assert of_x.startswith("a.yar:1: yara-x: invalid pattern `$a`: ")
        (of_yara,) = problems(folder, "yara", a=ONLY_YARA_X)
        assert of_yara.startswith("a.yar:1: yara: ")

    def test_problems_of_all_files_come_together(self, folder: Path) -> None:
        told = problems(
            folder,
            a="rule a {\n  condition: missing\n}",
            b=NEEDLE,
            c='rule c {\n  strings: $a = "x"\n  condition: $b }',
            d='rule d { meta: kind = "?" condition: true }',
        )
        assert told == [
            "a.yar:2: yara-x: unknown identifier `missing`: this identifier has not been declared",
            'a.yar:2: yara: undefined identifier "missing"',
            "c.yar:3: yara-x: unknown pattern `$b`: this pattern is not declared in the `strings` section",
            'c.yar:3: yara: undefined string "$b"',
            "d.yar:1: rule d: kind '?' is none of malware, suspicious, forbidden, info",
        ]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_file_that_ends_too_early(self, folder: Path, backend: Backend) -> None:
        (problem,) = problems(folder, backend, a="rule a {\n\n  condition:")
        assert problem.startswith(f"a.yar:3: {backend}: syntax error")

    @pytest.mark.parametrize("backend", EVERY)
    def test_include(self, folder: Path, backend: Backend) -> None:
        assert problems(folder, backend, a=NEEDLE, b='\ninclude "a.yar"') == [f"b.yar:2: {NO_INCLUDE}"]

    def test_not_utf8(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "a.yar").write_bytes(b"// one\n// caf\xe9\n" + NEEDLE.encode())
        assert problems(folder) == ["a.yar:2: not UTF-8"]

    @pytest.mark.parametrize("count", [PROBLEMS_PER_FILE, PROBLEMS_PER_FILE + 1])
    def test_problems_of_one_file_are_capped(self, folder: Path, count: int) -> None:
        bad = "\n".join(f"rule r{number} {{ condition: missing }}" for number in range(count))
        assert len(problems(folder, "yara-x", a=bad)) == PROBLEMS_PER_FILE


class TestTime:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_slow_rule_ends_with_the_engine_s_time(self, folder: Path, backend: Backend) -> None:
        engine = build(folder, backend, timeout_s=2, a=SLOW_RULE + NEEDLE)
        report = scan(engine, SLOW_CONTENT)
        assert report.outcome is Outcome.TIMED_OUT
        assert 0.9 < report.elapsed_s < 5
        assert names(scan(engine, b"needle")) == ["needle"]

    def test_slow_rule_ends_with_the_budget(self, folder: Path) -> None:
        report = scan(build(folder, a=SLOW_RULE), SLOW_CONTENT, time_s=2.9)
        assert report.outcome is Outcome.TIMED_OUT
        assert report.elapsed_s < 2.9

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_quick_scan_never_ends_with_a_clock_s_tick(self, folder: Path, backend: Backend) -> None:
        engine = build(folder, backend, timeout_s=2, a=NEEDLE)
        end = time.monotonic() + 1.1  # YARA-X's clock beats each second
        body = b"needle" + bytes(100_000)
        outcomes = set()
        while time.monotonic() < end:
            outcomes.add(scan(engine, body).outcome)
        assert outcomes == {Outcome.FOUND}

    @pytest.mark.parametrize(("time_s", "ticks"), [(0.1, 1), (0.99, 1), (1.0, 2), (2.9, 2), (3.0, 3), (20.0, 20)])
    def test_ticks_of_yara_x_s_clock(self, time_s: float, ticks: int) -> None:
        assert _ticks(time_s) == ticks

    @pytest.mark.parametrize("timeout_s", [1.99, 600.1])
    def test_time_outside_its_bounds_is_refused(self, timeout_s: float) -> None:
        with pytest.raises(ValidationError):
            YaraOptions(timeout_s=timeout_s)
        assert YaraOptions(timeout_s=round(timeout_s)).timeout_s == round(timeout_s)

    @pytest.mark.parametrize("time_s", [0.0, -1.0])
    def test_no_time_left(self, folder: Path, time_s: float) -> None:
        assert scan(build(folder, a=NEEDLE), b"needle", time_s=time_s).outcome is Outcome.TIMED_OUT

    def test_hit_beside_a_timeout_stays(self, folder: Path) -> None:
        slow_for_yara = SLOW_RULE + ONLY_YARA
        report = scan(build(folder, timeout_s=2, a=NEEDLE, b=slow_for_yara), b"needle" + SLOW_CONTENT)
        assert report.outcome is Outcome.TIMED_OUT
        assert names(report) == ["needle"]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_forked_children_scan_and_keep_time(self, folder: Path, backend: Backend) -> None:
        folder.mkdir()
        (folder / "a.yar").write_text(NEEDLE + SLOW_RULE)
        command = [sys.executable, "-m", "tests.engines.forked_scan", str(folder), backend]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            ["FOUND", "NOTHING_FOUND", "TIMED_OUT", "FOUND"]
        ] * 2
