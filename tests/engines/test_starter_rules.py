"""The rules icapd ships: each has a hit and a near miss, both compilers agree, and ordinary content passes."""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path

import pytest
import yara
import yara_x

from engines.yara import SPEC, YaraOptions
from engines.yara.engine import YaraEngine
from engines.yara.rulesets import RuleInfo, YaraRuleset, YaraXRuleset
from icapd.scan.model import Budget, Finding, Outcome, Sample
from tests.engines import starter_cases_documents, starter_cases_scripts, starter_cases_web
from tests.engines.ordinary_content import ORDINARY
from tests.engines.starter_case import Case

FOLDER = Path(__file__).parents[2] / "conf" / "rules"
FILES = sorted(FOLDER.glob("*.yar"))
CASES: list[Case] = [*starter_cases_scripts.CASES, *starter_cases_web.CASES, *starter_cases_documents.CASES]
CASE_IDS = [f"{case.rule}-{number}" for number, case in enumerate(CASES)]
REFERENCE = re.compile(
    r"https://(attack\.mitre\.org/techniques/T\d{4}/(\d{3}/)?|nvd\.nist\.gov/vuln/detail/CVE-\d{4}-\d+|www\.eicar\.org/.*)"
)


BACKENDS = ("yara-x", "yara")


@cache
def _engine(backend: str) -> YaraEngine:
    options = YaraOptions.model_validate({"rules": [str(FOLDER)], "backend": backend})
    engine = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(engine, YaraEngine)
    return engine


def _findings(backend: str, data: bytes) -> tuple[Finding, ...]:
    report = _engine(backend).scan(Sample(data), Budget(time.monotonic() + 20))
    assert report.outcome in (Outcome.FOUND, Outcome.NOTHING_FOUND)
    return report.findings


def _names(backend: str, data: bytes) -> set[str]:
    return {finding.name for finding in _findings(backend, data)}


def _public_rules() -> list[RuleInfo]:
    private = {(str(path), rule.identifier) for path in FILES for rule in yara.compile(str(path)) if rule.is_private}
    infos = YaraRuleset({str(path): path.read_text() for path in FILES}).rules()
    return [info for info in infos if info.key not in private]


RULES = _public_rules()


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == {info.key[1] for info in RULES}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_hit(case: Case, backend: str) -> None:
    assert case.rule in _names(backend, case.hit)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_near_miss(case: Case, backend: str) -> None:
    assert case.rule not in _names(backend, case.miss)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_compilers_agree(case: Case) -> None:
    for data in (case.hit, case.miss):
        assert _findings("yara-x", data) == _findings("yara", data)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_content_passes(name: str, backend: str) -> None:
    assert _findings(backend, ORDINARY[name]) == ()


@pytest.mark.parametrize("info", RULES, ids=[info.key[1] for info in RULES])
def test_metadata(info: RuleInfo) -> None:
    assert set(info.metadata) == {"description", "author", "severity", "kind", "reference"}
    assert info.metadata["author"] == "icapd"
    assert REFERENCE.fullmatch(str(info.metadata["reference"]))
    assert 20 < len(str(info.metadata["description"])) < 120


def test_names_are_unique() -> None:
    assert len({info.key[1] for info in RULES}) == len(RULES)


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_no_pattern_is_slow(path: Path) -> None:
    compiler = yara_x.Compiler(error_on_slow_pattern=True)
    compiler.add_source(path.read_text())
    YaraXRuleset(compiler.build())
    assert yara.compile(str(path)).warnings == []


def test_no_rule_file_holds_the_test_file() -> None:
    for path in FILES:
        assert b"EICAR-" + b"STANDARD" not in path.read_bytes()
