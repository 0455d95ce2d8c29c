"""OpenDocument files: encrypted ones, and macros in Basic."""

from __future__ import annotations

import time

import pytest

from engines.office import odf
from icapd.scan.model import Budget, FindingKind, Sample
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


RUNS = BASIC % b"Sub Main\n  Shell(&quot;cmd.exe /c calc&quot;)\nEnd Sub"
PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = b'xmlns:script="http://openoffice.org/2000/script"'


@pytest.mark.parametrize(
    "part",
    [
        RUNS.replace(PROLOG, PROLOG + b"<!--" + b" " * 5000 + b"-->"),
        RUNS.replace(b"openoffice.org", b"openoffice&#46;org"),
        RUNS.replace(PROLOG, b"").decode().encode("utf-16"),
        RUNS.replace(PROLOG, b"").decode().encode("utf-16-be"),
        RUNS.replace(b"UTF-8", b"iso-8859-15"),
    ],
    ids=["a long comment", "a reference to a character", "UTF-16", "UTF-16 without its mark", "another encoding"],
)
@pytest.mark.parametrize("name", ["Basic/Standard/Module1.xml", "elsewhere.XML"])
def test_a_module_is_known_by_its_root_however_it_is_written(name: str, part: bytes) -> None:
    report = scan(odt(**{name: part}))
    assert {"vba:macros", "vba:shell", "vba:command-interpreter"} <= names(report)


@pytest.mark.parametrize(
    "part",
    [
        RUNS.replace(b"UTF-8", b"Shift_JIS"),
        RUNS.replace(NAMESPACE, b"").replace(
            b'"module.dtd">', b'"module.dtd" [<!ATTLIST script:module %s>]>' % NAMESPACE.replace(b"=", b" CDATA ")
        ),
        b"<script:module",
    ],
    ids=["in an encoding that is not read", "with a namespace by declaration", "cut"],
)
def test_what_may_be_a_module_and_cannot_be_read_is_corrupt(part: bytes) -> None:
    report = scan(odt(**{"Basic/Standard/Module1.xml": part}))
    assert (FindingKind.CORRUPT, "corrupt:xml") in telling(report)


def test_a_part_of_office_with_words_of_a_module_is_read_as_what_it_is() -> None:
    field = b"".join(
        b"<w:r><w:instrText>%s</w:instrText></w:r>" % each for each in (b"DDEA", b"UTO cmd ", b"/c calc")
    )
    part = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:p>%s</w:p>' % field
    for before in (b"", b"<!--openoffice.org/2000/script-->"):
        for name in ("word/document.xml", "META-INF/manifest.xml", "Basic/document.xml"):
            report = scan(zip_of({"[Content_Types].xml": b"<Types/>", name: before + part + b"</w:document>"}))
            assert (FindingKind.MALWARE, "ole:dde-command") in telling(report)


def test_an_encrypted_document_with_a_manifest_in_utf_16_is_said_to_be() -> None:
    manifest = (MANIFEST % LOCK).decode().encode("utf-16")
    report = scan(zip_of({"mimetype": TYPE, "META-INF/manifest.xml": manifest}))
    assert (FindingKind.ENCRYPTED, "encrypted:odf") in telling(report)


def test_a_comment_without_end_before_the_root_is_read_in_time() -> None:
    started = time.process_time()
    part = Sample(b"<!--" + b" " * 32_000_000, trail=("a.xml",))
    assert not odf.is_module(part, Budget(time.monotonic() + 20))
    assert time.process_time() - started < 3
