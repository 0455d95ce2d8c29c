"""OpenDocument files: encrypted ones, and macros in Basic."""

from __future__ import annotations

import pytest

from icapd.scan.model import FindingKind
from tests.engines.document_probe import names, scan, telling
from tests.engines.samples import zip_of

TYPE = b"application/vnd.oasis.opendocument.text"
MANIFEST = (
    b'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    b'<manifest:file-entry manifest:full-path="content.xml">%s</manifest:file-entry></manifest:manifest>'
)
LOCK = (
    b'<manifest:encryption-data><manifest:algorithm manifest:algorithm-name="aes256-cbc"/></manifest:encryption-data>'
)
BASIC = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument'
    b' 1.0//EN" "module.dtd">\n<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1"'
    b' script:language="StarBasic">%s</script:module>'
)


def odt(manifest: bytes = b"", **parts: bytes) -> bytes:
    return zip_of({"mimetype": TYPE, "META-INF/manifest.xml": MANIFEST % manifest, "content.xml": b"<a/>", **parts})


def module(source: bytes) -> bytes:
    return odt(**{"Basic/Standard/Module1.xml": BASIC % source})


def test_an_encrypted_document_is_said_to_be() -> None:
    assert (FindingKind.ENCRYPTED, "encrypted:odf") in telling(scan(odt(LOCK)))
    assert telling(scan(odt())) == set()


def test_a_macro_that_runs_a_program_is_suspicious() -> None:
    report = scan(module(b"Sub Main\n  Shell(&quot;cmd.exe /c calc&quot;)\nEnd Sub"))
    assert {"vba:macros", "vba:shell", "vba:command-interpreter"} <= names(report)
    assert any(kind is FindingKind.SUSPICIOUS for kind, _ in telling(report))


def test_a_harmless_macro_is_recorded() -> None:
    report = scan(module(b"Sub Main\n  MsgBox &quot;soup&quot;\nEnd Sub"))
    assert names(report) == {"vba:macros"}
    assert telling(report) == set()


@pytest.mark.parametrize(
    "part", [b"<x xmlns='http://openoffice.org/2000/script'>Shell(1)</x>", b"<a>openoffice.org/2000/script</a>"]
)
def test_other_parts_are_no_modules(part: bytes) -> None:
    assert names(scan(odt(**{"Basic/script-lb.xml": part}))) == set()


@pytest.mark.parametrize("source", [b"Sub Main\n<", b"&#0;"])
def test_a_damaged_module_is_judged_as_far_as_it_goes(source: bytes) -> None:
    assert (FindingKind.CORRUPT, "corrupt:xml") in telling(scan(module(source)))


def test_a_module_with_entities_is_refused() -> None:
    part = BASIC.replace(b'"module.dtd">', b'"module.dtd" [<!ENTITY a "b">]>') % b"&a;"
    report = scan(odt(**{"Basic/Standard/Module1.xml": part}))
    assert (FindingKind.CORRUPT, "corrupt:xml") in telling(report)
