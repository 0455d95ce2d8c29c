"""The starter rules and the document engines agree: ordinary documents pass all of them together."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engines.office import OfficeOptions
from engines.office.unpacker import OfficeUnpacker
from engines.pdf import PdfOptions
from engines.pdf.unpacker import PdfUnpacker
from engines.yara import SPEC, YaraOptions
from engines.yara.engine import YaraEngine
from icapd.scan.merge import merge
from icapd.scan.model import Sample, ScanReport, Verdict
from icapd.scan.tree import EngineSet, examine
from tests.engines import test_office_parts, test_office_rtf, test_office_vba, test_pdf
from tests.engines.archive_probe import IDENTIFIER
from tests.engines.document_probe import ARCHIVE
from tests.engines.office_writing import vba_project
from tests.engines.starter_case import WS_SHELL

RULES = Path(__file__).parents[2] / "conf" / "rules"
_BY_RULES = {"an equation"}
"""Suspicious by a starter rule: mail has not carried RTF with the retired editor's objects for years."""

ORDINARY = {
    **{f"pdf: {case}": data for case, (data, _) in test_pdf.ORDINARY.items()},
    **{f"rtf: {case}": data for case, (data, _) in test_office_rtf.ORDINARY.items() if case not in _BY_RULES},
    **{f"part: {case}": data for case, (data, _) in test_office_parts.ORDINARY.items()},
    "vba: zoom": vba_project(M=test_office_vba.HARMLESS["zoom"]),
    "vba: a sum": vba_project(M=test_office_vba.HARMLESS["a sum of a column"]),
}


@pytest.fixture(scope="module")
def engines() -> EngineSet:
    options = YaraOptions.model_validate({"rules": [str(RULES)]})
    yara = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(yara, YaraEngine)
    return EngineSet(IDENTIFIER, (yara,), (ARCHIVE, OfficeUnpacker(OfficeOptions()), PdfUnpacker(PdfOptions())))


def scan(data: bytes, engines: EngineSet) -> ScanReport:
    budget = ARCHIVE.budget(time.monotonic() + 20)
    return merge(examine(Sample(data), engines, budget), frozenset({"yara", "office", "pdf", "archive"}))


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_documents_pass_all_engines(case: str, engines: EngineSet) -> None:
    report = scan(ORDINARY[case], engines)
    assert report.verdict is Verdict.CLEAN, report.findings


def test_rules_see_what_the_engines_open(engines: EngineSet) -> None:
    case = test_office_vba.HOSTILE["saved download"] + f'\n Set c = CreateObject("{WS_SHELL}")'
    report = scan(test_office_vba.auto(case + "\n b.SaveToFile x"), engines)
    found = {(finding.name, finding.trail) for finding in report.findings}
    assert ("Script_Downloads_To_Disk", ("VBA/ThisDocument",)) in found
