"""Every shipped engine says the same in the sandbox as outside it, of everything its own tests are made of."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Final

import brotli
import msgspec
import pytest

from engines.archive import SPEC as ARCHIVE
from engines.embedded import SPEC as EMBEDDED
from engines.hashes import SPEC as HASHES
from engines.identify import SPEC as IDENTIFY
from engines.office import SPEC as OFFICE
from engines.pdf import SPEC as PDF
from engines.yara import SPEC as YARA
from icapd.scan.tree import Examination
from tests.engines import (
    archive_fixtures,
    samples,
    test_embedded,
    test_mail,
    test_office_locked,
    test_office_parts,
    test_office_rtf,
    test_pdf,
)
from tests.engines.office_locking import agile, standard
from tests.engines.office_writing import compound, native_package, vba_project
from tests.engines.ordinary_content import ORDINARY
from tests.engines.pdf_writing import ENCODERS, Encryption, encrypted, stream
from tests.engines.starter_cases_documents import CASES as DOCUMENTS
from tests.engines.starter_cases_scripts import CASES as SCRIPTS
from tests.engines.starter_cases_web import CASES as WEB
from tests.engines.test_archive_formats import ARCHIVES, STREAMS
from tests.support.eicar import EICAR
from tests.support.reactor import wait_until
from tests.worker.scanners import ScannerBench, puppet_snapshot

ROOT: Final = Path(__file__).parents[2]
LARGE: Final = b"." * (2 * 1024 * 1024)
NAMED: Final = {"\N{LATIN SMALL LETTER E WITH ACUTE}.txt": EICAR, "inner.zip": samples.zip_of({"x": EICAR})}

CORPUS: Final[dict[str, bytes]] = {
    **{f"archive {name}": data for name, (data, _) in ARCHIVES.items()},
    **{f"stream {name}": data for name, data in STREAMS.items()},
    **{f"made {name}": data for name, data in vars(archive_fixtures).items() if isinstance(data, bytes)},
    **{f"ordinary {name}": data for name, data in ORDINARY.items()},
    **{f"case {case.rule} hit": case.hit for case in (*DOCUMENTS, *SCRIPTS, *WEB)},
    **{f"case {case.rule} miss": case.miss for case in (*DOCUMENTS, *SCRIPTS, *WEB)},
    **{f"pdf {name}": data for name, (data, _) in {**test_pdf.ORDINARY, **test_pdf.SUSPICIOUS}.items()},
    **{f"pdf {name}": data for name, data in test_pdf.HOSTILE.items()},
    **{f"pdf encrypted {revision}": encrypted(Encryption(revision), b"eval(a)") for revision in (2, 3, 4, 5, 6)},
    **{f"pdf with {name}": test_pdf.ordinary("", stream(EICAR, filters=(name,))) for name in ENCODERS},
    **{f"embedded {name}": make() for name, make in test_embedded.SHAPES.items()},
    "mail": test_mail.mail(EICAR, "a.com"),
    "mail by name": test_mail.mail(EICAR).replace(b"base64", b"x-uuencode"),
    "office locked": agile(test_office_locked.MACROS, test_office_locked.DEFAULT),
    "office locked by the older way": standard(test_office_locked.MACROS, test_office_locked.DEFAULT),
    "office locked by a password": agile(test_office_locked.MACROS, "secret"),
    **{f"rtf {name}": data for name, data in test_office_rtf.MALICIOUS.items()},
    **{f"part {name}": data for name, data in test_office_parts.MALICIOUS.items()},
    "zip": samples.zip_of(NAMED),
    "tar": samples.tar_of(NAMED),
    "gzip": gzip.compress(EICAR),
    "brotli": brotli.compress(EICAR),
    "png": samples.png(),
    "wav": samples.wav(),
    "pe": samples.pe(),
    "ole2": samples.ole2(),
    "macro": vba_project(Module1='Sub AutoOpen()\nShell "calc"\nEnd Sub\n'),
    "embedded": compound({"\1Ole10Native": native_package("a.txt", EICAR)}),
    "large": LARGE + EICAR,
    "large zip": samples.zip_of({"a": LARGE + EICAR, "b": bytes(range(256)) * 8192}),
    "binary": bytes(range(256)) * 300,
}

OPTIONS: Final = {"archive": {"passwords": ["secret"]}}


def examined(*, sandbox: bool) -> dict[str, Any]:
    """What scanners say of each, without the times they took."""
    specs = {spec.name: spec for spec in (ARCHIVE, EMBEDDED, HASHES, IDENTIFY, OFFICE, PDF, YARA)}
    snapshot = puppet_snapshot(
        **{name: (spec, spec.options.model_validate(OPTIONS.get(name, {}))) for name, spec in specs.items()}
    )
    bench = ScannerBench(count=2, snapshot=snapshot, sandbox=sandbox)
    try:
        before = bench.scanner_pids
        for name, content in CORPUS.items():
            bench.submit(content, name, scan_s=120)
        wait_until(bench.has_ended(*CORPUS), 120)
        assert bench.scanner_pids == before
        return {name: timeless(outcome) for name, outcome in bench.outcomes.items()}
    finally:
        bench.stop()


def timeless(outcome: Examination | Exception) -> Any:
    assert isinstance(outcome, Examination)
    reports = [msgspec.structs.replace(report, elapsed_s=0.0) for report in outcome.reports]
    return msgspec.to_builtins(msgspec.structs.replace(outcome, reports=tuple(reports), elapsed_s=0.0))


def test_the_sandbox_changes_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    inside, outside = examined(sandbox=True), examined(sandbox=False)

    assert len(CORPUS) > 150
    assert {name for name in CORPUS if inside[name] != outside[name]} == set()
    assert not [name for name in CORPUS if "failed" in str(inside[name]["reports"]).lower()]
