from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import Field

from engines.archive import SPEC as ARCHIVE
from engines.archive import ArchiveOptions
from engines.identify import SPEC as IDENTIFY
from engines.identify import IdentifyOptions
from icapd.errors import ConfigurationError
from icapd.plugins import (
    GROUP,
    RulesetSnapshot,
    build_engines,
    compile_engines,
    decode_snapshot,
    encode_snapshot,
    gather_snapshot,
    installed_specs,
)
from icapd.scan.engine_api import Compiling, EngineOptions, EngineSpec, Material, Problem
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample
from icapd.scan.tree import examine
from tests.engines.samples import zip_of


class WordOptions(EngineOptions):
    lists: list[str] = Field([], description="files with one word a line")


class WordEngine:
    """Finds the words of its lists."""

    name = "words"

    def __init__(self, words: list[bytes]) -> None:
        self.words = words

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        found = tuple(
            Finding(FindingKind.MALWARE, word.decode(), self.name)
            for word in self.words
            if word in bytes(sample.data)
        )
        return EngineReport(self.name, Outcome.FOUND if found else Outcome.NOTHING_FOUND, found)


def gather_words(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    assert isinstance(options, WordOptions)
    missing = [
        Problem(f"engines.words.lists: {name}", "no such file")
        for name in options.lists
        if not resolve(name).exists()
    ]
    if missing:
        raise ConfigurationError(missing)
    return {name: resolve(name).read_bytes() for name in options.lists}


def build_words(options: EngineOptions, material: Mapping[str, bytes]) -> WordEngine:
    words = [word for content in material.values() for word in content.split()]
    bad = [Problem("words", f"{word!r} is no word") for word in words if not word.isalpha()]
    if bad:
        raise ConfigurationError(bad)
    return WordEngine(words)


WORDS = EngineSpec("words", WordOptions, gather_words, build_words, lambda: "1")
NOTHING = EngineSpec("nothing", EngineOptions, lambda options, resolve: {}, lambda options, material: 42, lambda: "1")
SPECS = {"words": WORDS, "archive": ARCHIVE, "identify": IDENTIFY, "nothing": NOTHING}
NOT_A_SPEC = object()


def entry(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name, attribute if ":" in attribute else f"tests.test_plugins:{attribute}", GROUP)


def snapshot(folder: Path, **engines: EngineOptions) -> RulesetSnapshot:
    return gather_snapshot(engines, lambda name: folder / name, SPECS)


def test_specs_are_found_by_entry_point() -> None:
    assert installed_specs([entry("words", "WORDS")]) == {"words": WORDS}


def test_the_project_registers_its_own_engines() -> None:
    specs = installed_specs()
    assert specs["identify"] is IDENTIFY
    assert specs["archive"] is ARCHIVE


def test_every_bad_entry_point_is_named() -> None:
    found = [
        entry("words", "WORDS"),
        entry("words", "WORDS"),
        entry("other", "WORDS"),
        entry("plain", "NOT_A_SPEC"),
        entry("lost", "no_such_package_at_all:SPEC"),
        entry("gone", "NO_SUCH_NAME"),
    ]
    with pytest.raises(ConfigurationError) as caught:
        installed_specs(found)
    told = {problem.where.split()[2]: problem.what for problem in caught.value.problems}
    assert told["words"] == "another package offers an engine of that name"
    assert told["other"] == "holds the spec of another engine, words"
    assert told["plain"] == "is no EngineSpec but object"
    assert told["lost"].startswith("cannot be imported: ModuleNotFoundError")
    assert told["gone"].startswith("cannot be imported: AttributeError")


def test_a_snapshot_carries_everything_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"evil\n")
    taken = snapshot(
        tmp_path,
        identify=IdentifyOptions(libmagic=False),
        words=WordOptions(lists=["list"], timeout_s=3, required=False),
        archive=ArchiveOptions(max_members=5),
    )
    (tmp_path / "list").unlink()
    engines = build_engines(decode_snapshot(encode_snapshot(taken)), SPECS)
    assert engines.timeouts_s["words"] == 3
    assert engines.required == {"identify", "archive"}
    assert engines.budget(1.0).members_left == 5
    examination = examine(Sample(zip_of({"a.txt": b"evil"})), engines, engines.budget(float("inf")))
    assert examination.identity.media_type == "application/zip"
    (found,) = [finding for report in examination.reports for finding in report.findings]
    assert (found.name, found.trail) == ("evil", ("a.txt",))


class TestCompiling:
    """Words that are sorted where they are tried, and taken as they are elsewhere."""

    @staticmethod
    def specs(compile_words: Callable[[EngineOptions, Material], Material]) -> dict[str, EngineSpec]:
        def build(options: EngineOptions, material: Material) -> WordEngine:
            return WordEngine(material["sorted"].split())

        return {**SPECS, "words": replace(WORDS, compiling=Compiling(compile_words, build))}

    def test_nurseries_build_from_what_was_compiled(self, tmp_path: Path) -> None:
        def sort(options: EngineOptions, material: Material) -> Material:
            return {"sorted": b" ".join(sorted(material["list"].split()))}

        specs = self.specs(sort)
        (tmp_path / "list").write_bytes(b"evil bad\n")
        taken = snapshot(tmp_path, words=WordOptions(lists=["list"]), archive=ArchiveOptions())
        compiled = compile_engines(taken, specs)
        assert (compiled.ruleset, compiled.remote) == (taken.ruleset, taken.remote)
        assert [(engine.name, engine.is_compiled) for engine in compiled.engines] == [
            ("archive", False),
            ("words", True),
        ]
        assert compile_engines(compiled, specs) == compiled
        (engine,) = build_engines(decode_snapshot(encode_snapshot(compiled)), specs).engines
        assert isinstance(engine, WordEngine)
        assert engine.words == [b"bad", b"evil"]
        with pytest.raises(ConfigurationError, match="cannot be built from what was compiled"):
            build_engines(compiled, SPECS)

    def test_what_cannot_be_compiled_is_told_with_all_problems(self, tmp_path: Path) -> None:
        def refuse(options: EngineOptions, material: Material) -> Material:
            raise ConfigurationError([Problem("words", "told again by building")])

        (tmp_path / "list").write_bytes(b"1\n")
        taken = snapshot(tmp_path, words=WordOptions(lists=["list"]), nothing=EngineOptions())
        compiled = compile_engines(taken, self.specs(refuse))
        assert compiled == taken
        with pytest.raises(ConfigurationError) as told:
            build_engines(compiled, self.specs(refuse))
        assert sorted(problem.where for problem in told.value.problems) == ["engines.nothing", "words"]


def test_a_disabled_engine_is_not_in_the_snapshot(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, words=WordOptions(enabled=False), archive=ARCHIVE.options())
    assert [engine.name for engine in taken.engines] == ["archive"]


def test_the_ruleset_follows_files_and_options(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"evil")
    first = snapshot(tmp_path, words=WordOptions(lists=["list"])).ruleset
    assert snapshot(tmp_path, words=WordOptions(lists=["list"])).ruleset == first
    assert snapshot(tmp_path, words=WordOptions(lists=["list"], timeout_s=1)).ruleset != first
    path.write_bytes(b"worse")
    assert snapshot(tmp_path, words=WordOptions(lists=["list"])).ruleset != first


def test_the_ruleset_follows_icapd_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = snapshot(tmp_path, archive=ARCHIVE.options()).ruleset
    monkeypatch.setattr("icapd.plugins.__version__", "0.0.0")
    assert snapshot(tmp_path, archive=ARCHIVE.options()).ruleset != first


def test_gathering_tells_every_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        snapshot(tmp_path, words=WordOptions(lists=["one", "two"]), unheard=EngineOptions())
    assert [problem.where for problem in caught.value.problems] == [
        "engines.unheard",
        "engines.words.lists: one",
        "engines.words.lists: two",
    ]


def test_building_tells_every_problem(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"1 2")
    taken = snapshot(tmp_path, words=WordOptions(lists=["list"]), nothing=EngineOptions())
    with pytest.raises(ConfigurationError) as caught:
        build_engines(taken, SPECS)
    assert [str(problem) for problem in caught.value.problems] == [
        "engines.nothing: builds int, which is no engine",
        "words: b'1' is no word",
        "words: b'2' is no word",
    ]


def test_an_engine_replaced_on_disk_is_not_mixed_with_the_old_ruleset(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, words=WordOptions())
    newer = EngineSpec("words", WordOptions, gather_words, build_words, lambda: "2")
    with pytest.raises(ConfigurationError, match="version 1 was replaced by 2"):
        build_engines(taken, {"words": newer})
    with pytest.raises(ConfigurationError, match="no installed package"):
        build_engines(taken, {})


def test_options_that_no_longer_fit_are_told(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, words=WordOptions())
    narrower = EngineSpec("words", EngineOptions, gather_words, build_words, lambda: "1")
    with pytest.raises(ConfigurationError, match="lists"):
        build_engines(taken, {"words": narrower})


def test_only_one_engine_may_identify(tmp_path: Path) -> None:
    specs = {
        "identify": IDENTIFY,
        "second": EngineSpec("second", IDENTIFY.options, IDENTIFY.gather, IDENTIFY.build, IDENTIFY.version),
    }
    options = {name: IdentifyOptions(libmagic=False) for name in specs}
    with pytest.raises(ConfigurationError, match="more than one engine identifies"):
        build_engines(gather_snapshot(options, Path, specs), specs)
