"""Tries a set of engines before it judges what clients send: on EICAR, which every rule set of some worth finds, and
on harmless samples, none of which it may flag.

The samples are a few hundred bytes each, made here: what a gateway sees all day, in the smallest form there is.
"""

from __future__ import annotations

import io
import time
import zipfile
import zlib
from collections.abc import Iterator

from icapd.errors import Problem
from icapd.scan.merge import merge
from icapd.scan.model import Sample, ScanReport, Verdict
from icapd.scan.tree import EngineSet, examine
from icapd.worker.frames import Trial

_SAMPLE_S = 10.0
_NAMED_MAX = 3
# In two parts, so that no scanner finds this file.
_EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"

_HTML = (
    b"<!DOCTYPE html>\n<html lang=en><head><title>Opening hours</title></head>\n"
    b"<body><h1>Opening hours</h1><p>Monday to Friday, 9 to 17.</p></body></html>\n"
)
_TEXT = b"Dear all,\n\nthe meeting begins at ten.\n"
_JSON = b'{"items": [{"id": 1, "name": "first"}, {"id": 2, "name": "second"}], "next": null}\n'
_SCRIPT = b"'use strict';\nfunction sum(values) {\n  return values.reduce((a, b) => a + b, 0);\n}\n"
_PDF = (
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    b"2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
    b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>\nendobj\n"
    b"xref\n0 4\n0000000000 65535 f \n0000000009 00000 n \n0000000058 00000 n \n0000000115 00000 n \n"
    b"trailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n186\n%%EOF\n"
)
_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    "<w:body><w:p><w:r><w:t>Opening hours</w:t></w:r></w:p></w:body></w:document>"
)


def harmless_samples() -> Iterator[tuple[str, bytes]]:
    """What must be CLEAN, by name."""
    yield "text", _TEXT
    yield "html", _HTML
    yield "javascript", _SCRIPT
    yield "json", _JSON
    yield "pdf", _PDF
    yield "png", _png()
    yield "zip", _archive({"readme.txt": _TEXT.decode(), "index.html": _HTML.decode()})
    yield (
        "docx",
        _archive({"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": _DOCUMENT}),
    )


def try_engines(engines: EngineSet) -> Trial:
    """What the engines make of EICAR and of the harmless samples."""
    flagged = {}
    for name, data in harmless_samples():
        report = _judge(engines, data)
        if report.verdict is not Verdict.CLEAN:
            flagged[name] = _described(report)
    return Trial(_judge(engines, _EICAR).verdict is Verdict.MALICIOUS, flagged)


def problems_of(trial: Trial, before: Trial) -> Iterator[Problem]:
    """What is worse than with the rules in force. What they do, too, was accepted when the server was started."""
    if before.finds_eicar and not trial.finds_eicar:
        yield Problem("engines", "the EICAR test file, which the rules in force find, is not found any more")
    for name, verdict in trial.flagged.items():
        if name not in before.flagged:
            yield Problem("engines", f"a harmless {name} sample is {verdict}")


def notes_of(trial: Trial) -> Iterator[str]:
    """What an operator should know of rules that can be used."""
    if not trial.finds_eicar:
        yield "no enabled engine finds the EICAR test file: that they detect anything at all is untested"
    for name, verdict in trial.flagged.items():
        yield f"a harmless {name} sample is {verdict}"


def _judge(engines: EngineSet, data: bytes) -> ScanReport:
    return merge(examine(Sample(data), engines, engines.budget(time.monotonic() + _SAMPLE_S)), engines.required)


def _described(report: ScanReport) -> str:
    names = [finding.name for finding in report.findings[:_NAMED_MAX]]
    return f"{report.verdict}: {', '.join(names)}" if names else str(report.verdict)


def _archive(members: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _png() -> bytes:
    """A picture of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    header = (1).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress(b"\x00\x80")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
