from __future__ import annotations

import pytest

from engines.identify.identifier import ContentIdentifier
from icapd.scan.merge import with_findings
from icapd.scan.mismatch import partial_content, type_mismatch
from icapd.scan.model import Finding, FindingKind, Sample, ScanReport, Severity, Verdict
from tests.engines import samples as s

IDENTIFIER = ContentIdentifier(None)


def compare(data: bytes, media_type: str | tuple[str, ...], extension: str = "") -> Finding | None:
    return type_mismatch(media_type, extension, IDENTIFIER.identify(Sample(data)))


DANGEROUS = [
    (s.pe(), "image/png", "", "executable-as-image"),
    (s.pe(), "Image/PNG; charset=binary", "exe", "executable-as-image"),
    (s.pe(), "application/pdf", "pdf", "executable-as-pdf"),
    (s.pe(), "text/html; charset=utf-8", "php", "executable-as-text"),
    (s.pe(), "application/octet-stream", "JPG", "executable-as-image"),
    (s.pe(), "", "pdf", "executable-as-pdf"),
    (s.ELF, "font/woff2", "woff2", "executable-as-font"),
    (s.ELF, "video/mp4", "", "executable-as-media"),
    (s.ZIP, "image/jpeg", "jpg", "archive-as-image"),
    (s.RAR, "text/plain", "txt", "archive-as-text"),
    (s.DOCX, "application/pdf", "pdf", "office-as-pdf"),
    (s.ole2(), "text/plain", "txt", "office-as-text"),
    (s.RTF, "image/gif", "", "office-as-image"),
    (s.LNK, "text/plain", "txt", "shortcut-as-text"),
    (s.POWERSHELL, "image/jpeg", "", "script-as-image"),
    (s.SHELL, "application/pdf", "", "script-as-pdf"),
]


@pytest.mark.parametrize(("data", "media_type", "extension", "name"), DANGEROUS)
def test_danger_under_a_harmless_name(data: bytes, media_type: str, extension: str, name: str) -> None:
    assert compare(data, media_type, extension) == Finding(
        FindingKind.TYPE_MISMATCH, name, "identify", Severity.MEDIUM
    )


ORDINARY = [
    (s.HTML, "text/html; charset=utf-8", "html"),
    (s.HTML, "application/xhtml+xml", ""),
    (s.HTML, "application/vnd.ms-excel", "xls"),
    (s.HTML, "image/gif", "gif"),
    (s.JAVASCRIPT, "text/javascript", "js"),
    (s.JAVASCRIPT, "application/x-javascript", "js"),
    (s.JAVASCRIPT, "text/plain", "js"),
    (s.JAVASCRIPT, "text/html", "js"),
    (s.JAVASCRIPT, "video/mp2t", "ts"),
    (s.CSS, "text/css", "css"),
    (s.CSS, "text/html", "css"),
    (s.JSON, "application/json", ""),
    (s.JSON, "text/html", ""),
    (s.JSON, "text/javascript", ""),
    (s.SVG, "image/svg+xml", "svg"),
    (s.SVG, "application/xml", "svg"),
    (s.XML, "text/html", ""),
    (s.XML, "application/rss+xml", ""),
    (s.png(), "image/jpeg", "jpg"),
    (s.WEBP, "image/jpeg", "jpg"),
    (s.GIF, "text/html", ""),
    (s.WOFF2, "application/octet-stream", "woff2"),
    (s.WOFF2, "text/plain", "woff2"),
    (s.PDF, "application/pdf", "pdf"),
    (s.PDF, "text/html", ""),
    (s.MP4, "video/quicktime", "mov"),
    (s.PLAIN, "image/x-icon", "ico"),
    (b"", "image/png", "png"),
    (s.pe(), "application/octet-stream", "exe"),
    (s.pe(), "application/octet-stream", ""),
    (s.pe(), "application/x-msdownload", "exe"),
    (s.pe(), "text/plain", "exe"),
    (s.pe(), "", ""),
    (s.ELF, "application/octet-stream", "so"),
    (s.ZIP, "application/zip", "zip"),
    (s.ZIP, "application/octet-stream", ""),
    (s.ZIP, "text/plain", "zip"),
    (s.GZIP, "text/xml", "gz"),
    (s.GZIP, "image/svg+xml", "svgz"),
    (s.GZIP, "text/plain", ""),
    (s.XZ, "text/plain", ""),
    (s.TAR, "text/plain", "tar"),
    (s.DOCX, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    (s.DOCX, "application/zip", "docx"),
    (s.DOCX, "text/plain", "docx"),
    (s.XLSX, "application/vnd.ms-excel", "xls"),
    (s.JAR, "application/java-archive", "jar"),
    (s.ODT, "application/vnd.oasis.opendocument.text", "odt"),
    (s.ole2(), "application/msword", "doc"),
    (s.RTF, "text/rtf", "rtf"),
    (s.RTF, "application/msword", "doc"),
    (s.SHELL, "text/plain", "sh"),
    (s.SHELL, "text/plain", ""),
    (s.POWERSHELL, "text/plain; charset=utf-8", "ps1"),
    (s.RTF, "text/plain", "txt"),
    (b"[Desktop Entry]\nType=Application\n", "text/plain; charset=utf-8", "in"),
    (b"MZ, a short letter", "text/plain", "txt"),
    (b"\x00asm\x01\x00\x00\x00", "text/html", ""),
    (b"\x02\x03" * 50, "image/png", "png"),
]


@pytest.mark.parametrize(("data", "media_type", "extension"), ORDINARY)
def test_ordinary_traffic_raises_no_alarm(data: bytes, media_type: str, extension: str) -> None:
    assert compare(data, media_type, extension) is None


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (("application/zip", "image/png"), "archive-as-image"),
        (("image/png", "application/zip"), "archive-as-image"),
        (("text/plain", "application/pdf"), "archive-as-pdf"),
        (("application/octet-stream", "application/zip"), None),
        (("image/png",), "archive-as-image"),
    ],
)
def test_each_of_several_declared_types_counts(declared: tuple[str, ...], name: str | None) -> None:
    found = compare(s.ZIP, declared, "zip")
    assert (found.name if found else None) == name


def test_no_declared_type_leaves_the_name() -> None:
    named = compare(s.pe(), (), "jpg")
    assert named is not None
    assert named == compare(s.pe(), "", "jpg")
    assert compare(s.pe(), (), "exe") is None


@pytest.mark.parametrize(
    ("status", "content_range", "media_type"),
    [
        (206, None, ""),
        (206, b"bytes 0-9/100", ""),
        (206, b"bytes 90-99/100", ""),
        (206, b"bytes 0-99/*", ""),
        (206, b"bytes 0-98/99", ""),
        (206, b"bytes 0-99/101", ""),
        (206, b"bytes 0-99/100, bytes 0-9/100", ""),
        (200, b"bytes 0-9/100", ""),
        (0, b"nonsense", ""),
        (200, None, "multipart/byteranges"),
        (206, b"bytes 0-99/100", "multipart/byteranges"),
    ],
)
def test_a_fragment_is_noted(status: int, content_range: bytes | None, media_type: str) -> None:
    note = partial_content(status, content_range, (media_type,), 100)
    assert note == Finding(FindingKind.INFO, "partial-content", "icapd", Severity.INFO)
    report = with_findings(ScanReport(Verdict.CLEAN), [note])
    assert (report.verdict, report.findings) == (Verdict.CLEAN, (note,))


@pytest.mark.parametrize("status", [0, 200, 204, 205, 207, 304])
def test_a_whole_is_not_noted(status: int) -> None:
    assert partial_content(status, None, (), 100) is None


def test_a_range_that_is_the_whole_is_not_noted() -> None:
    assert partial_content(206, b"bytes 0-99/100", ("video/mp4",), 100) is None
